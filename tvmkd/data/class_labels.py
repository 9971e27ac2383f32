"""Classes from labels that are written beside the images: numbers or names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tvmkd.base.errors import InputError
from tvmkd.base.text import printable
from tvmkd.data.pictures import P

MOST = 1_000_000  # a larger number is no class

Labelled = Mapping[str, Sequence[tuple[P, int | str]]]
"""Pictures with their labels as they are written, by the part of the data set."""


def numbered(
    where: Path, found: Labelled[P], names: Sequence[str] = ()
) -> tuple[list[str], dict[str, list[tuple[P, int]]]]:
    """The names of the classes, and the pictures with the numbers of their classes.

    Args:
        where: the data set, for messages.
        found: ``all``, or ``train`` and perhaps ``val`` and ``test``.
        names: of the classes by their numbers, where they are known. Otherwise labels that are
            numbers are the names, too; labels that are texts are sorted.

    Raises:
        InputError: labels of both kinds, a number without a name, one class only, as many classes
            as images, or a class that no training image has.
    """
    labels = [label for part in found.values() for _, label in part]
    texts = sorted({label for label in labels if isinstance(label, str)})
    numbers = sorted({label for label in labels if isinstance(label, int)})
    if texts and numbers:
        raise InputError(
            f"{where}: some labels are numbers ({numbers[0]}), some are texts "
            f'("{printable(texts[0])}"); write all of them alike'
        )
    known = _named(where, numbers, names) if numbers else texts
    if len(texts) + len(numbers) < 2:
        raise InputError(
            f"{where}: its images have {len(texts) + len(numbers)} classes; at least two"
        )
    if texts and len(texts) > len(labels) / 2:
        raise InputError(
            f"{where}: {len(texts)} different labels on {len(labels)} images, such as "
            f'"{printable(texts[0][:40])}": these are descriptions, not classes'
        )
    places = {label: place for place, label in enumerate(texts)}
    parts = {
        name: [(item, places[label] if isinstance(label, str) else label) for item, label in part]
        for name, part in found.items()
    }
    _check_training(where, known, parts)
    return [printable(name) for name in known], parts


def _named(where: Path, numbers: Sequence[int], names: Sequence[str]) -> list[str]:
    lowest, highest = numbers[0], numbers[-1]
    if lowest < 0 or highest >= (len(names) or MOST):
        wrong = lowest if lowest < 0 else highest
        have = f"there are {len(names)} class names" if names else "classes are counted from 0"
        raise InputError(f"{where}: a label is {wrong}, but {have}")
    return list(names) or [str(number) for number in range(highest + 1)]


def _check_training(
    where: Path, known: Sequence[str], parts: Mapping[str, Sequence[tuple[P, int]]]
) -> None:
    first = parts.get("train", parts.get("all", ()))
    trained = Counter(label for _, label in first)
    for name, part in parts.items():
        lost = sorted({label for _, label in part} - trained.keys())
        if lost:
            classes = ", ".join(printable(known[label]) for label in lost[:5])
            raise InputError(
                f"{where}: the {name} split has classes that no training image has: {classes}"
            )
