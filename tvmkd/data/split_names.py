"""The names that people give to the training, validation and test split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
T = TypeVar("T")

_WORDS: dict[Split, str] = {
    "train": r"train|training|trn|tr|trainval",
    "val": r"val|valid|validation|validate|validating|vali|vld|dev|devel|develop|development"
    r"|eval|evaluation|evaluating",
    "test": r"test|testing|tests|tst|te|ts|holdout|heldout",
}
_EXTRA = r"(?:data|dataset|set|split|subset|part|images?|imgs?|pics|pictures|photos|folder)?"
_NAMES = {
    split: re.compile(rf"{_EXTRA}(?:{words}){_EXTRA}s?\d*") for split, words in _WORDS.items()
}
_TOKENS = {split: re.compile(rf"(?:{words})\d*") for split, words in _WORDS.items()}
_PARTS = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+(?![a-z])\d*|\d+")


def split_of(name: str) -> Split | None:
    """The split of a name that says nothing else.

    ``train``, ``Training``, ``train_set``, ``train2017``, ``images-train``, ``valid``, ``DEV``,
    ``Test1`` and so on; None for all others.
    """
    plain = re.sub(r"[\W_]", "", name).lower()
    return next((split for split, known in _NAMES.items() if known.fullmatch(plain)), None)


def within(name: str) -> tuple[Split, str] | None:
    """The split that is one of several words of a name, and the rest: ``seg_train``, ``TrainA``."""
    words = [word.lower() for word in _PARTS.findall(name)]
    for number, word in enumerate(words):
        for split, known in _TOKENS.items():
            if known.fullmatch(word):
                return split, " ".join(words[:number] + words[number + 1 :])
    return None


def assign(names: Iterable[T], splits: Sequence[Split | None]) -> dict[Split, list[T]]:
    """Groups things by their splits; ``eval`` is what is tested on where there is a ``val``, too.

    Args:
        names: things whose text is their name (paths: the last part).
        splits: of each thing; None: left out.
    """
    found: dict[Split, list[T]] = {}
    for name, split in zip(names, splits, strict=True):
        if split is not None:
            found.setdefault(split, []).append(name)
    if len(found.get("val", [])) == 2 and "test" not in found:
        evaluation = [item for item in found["val"] if "eval" in str(item).lower().rsplit("/")[-1]]
        if len(evaluation) == 1:
            found["test"] = evaluation
            found["val"] = [item for item in found["val"] if item not in evaluation]
    return found
