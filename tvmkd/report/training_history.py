"""The history of a training: a file beside its checkpoint, with one line of JSON an epoch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tvmkd.base.errors import unwritable
from tvmkd.base.files import write_text

SUFFIX = ".history.jsonl"
FORMAT, VERSION = "tvmkd.history", 1
FOLDERS = ("", "students", "students/shaping", "prune", "quantize")
"""The folders of a run that have trainings, in the order of a run."""


@dataclass(frozen=True)
class Head:
    """The first line: what is trained.

    Attributes:
        name: for people: "distilled student (seed 1)".
        kind: trainings of one kind differ in their seed: "distilled student".
        training: the hash of what determines where it ends, see `tvmkd.distill.training`.
        epochs: of the whole training.
        metric: its name; ``percent``: it is shown as a percentage; ``rising``: more is better.
        device: ``cpu`` or ``cuda``.
        processes: that train together.
        started: seconds since 1970.
    """

    name: str
    kind: str
    training: str
    epochs: int
    metric: str
    percent: bool = False
    rising: bool = True
    device: str = "cpu"
    processes: int = 1
    started: float = 0.0


@dataclass(frozen=True)
class Epoch:
    """One epoch; None is what is not known.

    Attributes:
        epoch: its number, from 1.
        loss: the mean over its steps.
        parts: of the mean loss, by name.
        score: the deciding one, on the validation split.
        lr: of the last step.
        gradient_norm, gradient_norm_max: the mean and the highest over its steps, before clipping.
        images_per_second: of its steps, waiting for data included, of all processes.
        seconds: by phase, see `tvmkd.distill.epoch_clock`.
        ended: seconds since 1970.
    """

    epoch: int
    loss: float
    parts: Mapping[str, float] = field(default_factory=dict)
    score: float | None = None
    lr: float | None = None
    gradient_norm: float | None = None
    gradient_norm_max: float | None = None
    images_per_second: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    ended: float | None = None


@dataclass(frozen=True)
class History:
    """A training as it was recorded."""

    path: Path
    head: Head
    epochs: Sequence[Epoch] = ()

    @property
    def finished(self) -> bool:
        """Whether the training is done."""
        return bool(self.epochs) and self.epochs[-1].epoch >= self.head.epochs


def beside(checkpoint: Path) -> Path:
    """The history of a checkpoint's training."""
    return checkpoint.with_name(checkpoint.stem + SUFFIX)


def continued(path: Path, head: Head, known: Iterable[Epoch]) -> History:
    """Opens the history of a training that starts or resumes, and writes it without later epochs.

    A training that was killed may have recorded epochs after its last checkpoint: they come again.
    One that was stopped between a checkpoint and its line, or that was made before there were
    histories, gets from the checkpoint what that knows.

    Args:
        path: the file; one of another training is replaced.
        head: of the training.
        known: the epochs that are done, by the checkpoint.

    Raises:
        InputError: the file cannot be written.
    """
    found = read(path)
    recorded = {}
    if found is not None and found.head.training == head.training:
        recorded = {entry.epoch: entry for entry in found.epochs}
        head = found.head
    history = History(path, head, [recorded.get(entry.epoch, entry) for entry in known])
    # One without an epoch is written with its first: a training that fails before leaves nothing.
    if history.epochs:
        text = _text(history)
        # Not by what was read: a line that was cut is left out there.
        if found is None or path.read_bytes() != text.encode():
            write_text(path, text)
    return history


def append(history: History, entry: Epoch) -> History:
    """Adds an epoch's line; returns the longer history.

    Raises:
        InputError: the file cannot be written.
    """
    longer = History(history.path, history.head, [*history.epochs, entry])
    if not history.epochs:
        write_text(history.path, _text(longer))
        return longer
    try:
        with history.path.open("a", encoding="utf-8") as stream:
            stream.write(_line(asdict(entry)))
    except OSError as error:
        raise unwritable(error, history.path) from None
    return longer


def read(path: Path) -> History | None:
    """A history; None if there is none, or it is damaged. A last line that is cut is left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        first = json.loads(lines[0])
        if first.pop("format") != FORMAT or first.pop("version") != VERSION:
            return None
        head = Head(**_known(Head, first))
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    entries: list[Epoch] = []
    for line in lines[1:]:
        try:
            entries.append(Epoch(**_known(Epoch, json.loads(line))))
        except (ValueError, TypeError, AttributeError):
            break
    return History(path, head, entries)


def of_run(folder: Path) -> list[History]:
    """The histories of a run's trainings, in the order of a run."""
    found = []
    for place in FOLDERS:
        for path in sorted((folder / place).glob(f"*{SUFFIX}"), key=_turn):
            history = read(path)
            if history is not None:
                found.append(history)
    return found


def _turn(path: Path) -> tuple[bool, str, int, str]:
    """Teachers before their assistants, ``distilled-2`` before ``distilled-10``."""
    return path.name.startswith("assistant"), *_natural(path)


def _natural(path: Path) -> tuple[str, int, str]:
    """``distilled-2`` before ``distilled-10``."""
    name = path.name.removesuffix(SUFFIX)
    start, _, end = name.rpartition("-")
    return (start, int(end), "") if end.isdigit() else (name, -1, "")


def _known(kind: type[Head] | type[Epoch], values: dict[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _text(history: History) -> str:
    head = _line({"format": FORMAT, "version": VERSION, **asdict(history.head)})
    return head + "".join(_line(asdict(entry)) for entry in history.epochs)


def _line(values: dict[str, Any]) -> str:
    """Without what is not known."""
    known = {name: value for name, value in values.items() if value not in (None, {})}
    return json.dumps(known, separators=(",", ":")) + "\n"
