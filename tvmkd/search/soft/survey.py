"""Asks a latency predictor about a network's structures, once: the differences, in a file."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tvmkd.base import console, files
from tvmkd.base.errors import InputError
from tvmkd.search.latency.prediction import Latency
from tvmkd.search.soft import differences, staircase
from tvmkd.search.soft.choices import Choice, Structure
from tvmkd.search.soft.cut import cut
from tvmkd.search.soft.differences import Differences
from tvmkd.tuning.records import append_line, cut_torn, read_lines

if TYPE_CHECKING:
    from rich.progress import Progress

FILE, ANSWERS = "differences.json", "answers.jsonl"
CHECKED = 12  # random structures on which the sum of differences is compared with the predictor
GOOD = 0.02  # mean error of the sum up to which no more is asked
POOR = 0.1  # mean error that is told


@dataclass(frozen=True)
class Survey:
    """What is known of the latencies of a network's structures.

    Attributes:
        differences: of the choices that matter.
        errors: of the sum of differences on random structures, as shares of the predictor's
            answers: ``mean`` and ``largest``; ``structures``: how many.
    """

    differences: Differences
    errors: dict[str, float]


class Asker:
    """Predicts structures of one network, each of them once, in later processes, too.

    Args:
        latency: the predictor.
        network: whole, on the CPU; its weights do not matter.
        choices: about it.
        shape: of one input, batch first.
        path: a file for the answers, a line of JSON each; None: they are kept in memory.
        key: of what the answers depend on; others in the file are not used.
    """

    def __init__(
        self,
        latency: Latency,
        network: nn.Module,
        choices: Sequence[Choice],
        shape: Sequence[int],
        path: Path | None = None,
        key: str = "",
    ) -> None:
        self._latency, self._network = latency, network
        self._choices, self._shape = tuple(choices), tuple(shape)
        self._path, self._key = path, key
        self._whole = {choice.name: choice.options[0] for choice in choices}
        self._known: dict[frozenset[tuple[str, int]], float] = {}
        if path is not None:
            cut_torn(path)
        for line in [] if path is None else read_lines(path):
            if line["key"] == key:
                self._known[frozenset(line["structure"].items())] = line["seconds"]

    def __call__(self, structure: Structure) -> float:
        """The latency of a structure: `Prediction.seconds`."""
        less = {name: value for name, value in structure.items() if value != self._whole[name]}
        found = self._known.get(frozenset(less.items()))
        if found is None:
            network = cut(self._network, self._choices, structure).eval()
            found = self._latency.predict_model(network, self._shape).seconds
            self._known[frozenset(less.items())] = found
            if self._path is not None:
                line = {"key": self._key, "structure": less, "seconds": found}
                append_line(self._path, line)
        return found


def make(ask: Asker, choices: Sequence[Choice], progress: Progress | None = None) -> Survey:
    """Asks for the latencies of a network's structures.

    Args:
        ask: knows the network and its choices.
        choices: those choices.
        progress: shows a bar.

    Raises:
        InputError: nothing that can be taken out makes it faster, or a structure cannot be exported
            or compiled.
    """
    first = sum(len(choice.options) - 1 for choice in choices)
    with _Bar(progress, "latency of each width and block", first) as tell:
        efficient = staircase.efficient(choices, ask, tell)
    if not efficient:
        raise InputError(
            "nothing that can be taken out of the student makes it faster on this target, says the "
            'latency table: leave latency = "table" out, or tune more kernels into the table'
        )
    found, errors = _measured(efficient, ask, progress, grid=False)
    count = differences.questions(efficient, grid=True)
    if errors["mean"] > GOOD and count <= staircase.MOST_QUESTIONS:
        found, errors = _measured(efficient, ask, progress, grid=True)
    if errors["mean"] > POOR:
        console.warn(
            f"the expected latency is off by {errors['mean']:.0%} on average (at most "
            f"{errors['largest']:.0%}) on {CHECKED} random structures: kernels of this network "
            "depend on more than two groups of channels"
        )
    return Survey(found, errors)


def _measured(
    choices: Sequence[Choice], ask: Asker, progress: Progress | None, *, grid: bool
) -> tuple[Differences, dict[str, float]]:
    count = differences.questions(choices, grid=grid)
    with _Bar(progress, "latency of neighbours together", count + CHECKED) as tell:
        found = differences.measure(ask, choices, ask({}), tell, grid=grid)
        return found, check(found, ask, tell)


def check(
    found: Differences,
    predict: Callable[[Structure], float],
    tell: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Compares the sum of differences with the predictor on random structures."""
    draw = random.Random(0)
    shares = []
    for _ in range(CHECKED):
        structure = {choice.name: draw.choice(choice.options) for choice in found.choices}
        true = predict(structure)
        tell()
        shares.append(abs(found.of(structure) - true) / true)
    return {"mean": sum(shares) / len(shares), "largest": max(shares), "structures": CHECKED}


def saved(path: Path, key: str, choices: Sequence[Choice]) -> Survey | None:
    """The survey in a file, if it is one of this key."""
    import json

    try:
        data = json.loads(files.read_text(path))
        if data["key"] != key:
            return None
        given = data["differences"]
        options = {each["name"]: tuple(each["options"]) for each in given["choices"]}
        own = [
            replace(choice, options=options[choice.name])
            for choice in choices
            if choice.name in options
        ]
        return Survey(Differences.from_dict(given, own), data["errors"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is made again


def save(path: Path, key: str, survey: Survey) -> None:
    """Writes a survey in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"key": key, "differences": survey.differences.to_dict(), "errors": survey.errors}
    files.write_json(path, data)


class _Bar:
    """A bar that goes when its work is done; the block gets a function to call after each step."""

    def __init__(self, progress: Progress | None, text: str, total: int) -> None:
        self._progress, self._text, self._total = progress, text, total

    def __enter__(self) -> Callable[[], None]:
        progress = self._progress
        if progress is None:
            return lambda: None
        self._task = task = progress.add_task(self._text, total=self._total, note="")
        return lambda: progress.advance(task)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.remove_task(self._task)


def identity(
    model: Mapping[str, Any], shape: Sequence[int], choices: Sequence[Choice], table: str
) -> str:
    """The key of a survey: of everything that it depends on."""
    return files.key(
        "differences",
        model=dict(model),
        shape=list(shape),
        choices=[choice.to_dict() for choice in choices],
        table=table,
    )
