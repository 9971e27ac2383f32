"""What a watched training wrote down: one line of JSON a measurement."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvmkd.tuning.records import append_line, cut_torn, read_lines

FILE = "watch.jsonl"


@dataclass(frozen=True)
class Entry:
    """One measurement of a student.

    Attributes:
        training: name of its checkpoint, such as ``distilled-0``.
        identity: of the training: see `tvmkd.distill.training.Job.identity`.
        epoch: how many are done.
        shaping: whether the structure was still being learnt: then it is that of this moment.
        structure: hash of the network without the values of its weights.
        p50, p95, p99: of ``runs`` runs, ms.
        runs: how many.
        board: ``HOST:PORT``; None: this machine.
        budget: of the median, ms.
        score: on the validation split.
        metric: its name.
        tasks, tuned: kernels of the network, and how many of them have a tuning record.
        t: seconds since the epoch of Unix.
    """

    training: str
    identity: str
    epoch: int
    shaping: bool
    structure: str
    p50: float
    p95: float
    p99: float
    runs: int
    board: str | None
    budget: float
    score: float
    metric: str
    tasks: int
    tuned: int
    t: float

    @property
    def over(self) -> bool:
        """Whether the median is over the budget."""
        return self.p50 > self.budget


def append(folder: Path, entry: Entry) -> None:
    """Writes a measurement down.

    Raises:
        InputError: the file cannot be written.
    """
    cut_torn(folder / FILE)
    append_line(folder / FILE, asdict(entry))


def read(folder: Path, identities: set[str] | None = None) -> list[Entry]:
    """The measurements of a run's folder, in order.

    Args:
        folder: of the run.
        identities: of the trainings to keep, since an earlier configuration's are there, too; None:
            all. Of two measurements of one epoch the later one counts.
    """
    found: dict[tuple[Any, ...], Entry] = {}
    for line in read_lines(folder / FILE):
        entry = Entry(**line)
        if identities is None or entry.identity in identities:
            key = (entry.training, entry.identity, entry.epoch, entry.shaping)
            found.pop(key, None)
            found[key] = entry
    return list(found.values())
