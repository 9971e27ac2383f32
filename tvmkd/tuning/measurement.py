"""A job for a board, and its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRONG = "wrong_output"
"""The error kind of a kernel whose output is wrong."""


@dataclass(frozen=True)
class RunJob:
    """One kernel to measure, or to compare with another.

    Attributes:
        path: its library.
        args: dtype and shape of each argument.
        best: returns the best seconds of its task so far, for rejecting slow candidates early.
        threads: whether the kernel uses more than one core.
        plain: a library that computes the same in plain loops. Then nothing is timed; the board
            compares the outputs of the two.
    """

    path: Path
    args: list[tuple[str, list[int]]]
    best: Callable[[], float | None] = lambda: None
    plain: Path | None = None
    threads: bool = True


@dataclass(frozen=True)
class RunResult:
    """The result of one measurement.

    Attributes:
        seconds: mean seconds per run, one value a repeat; None where it failed.
        error_kind: None, ``run_error``, ``run_crash``, ``run_timeout`` or :data:`WRONG`.
        error: the message of that error.
        board: ``HOST:PORT`` of the board.
        wall: seconds that the whole measurement took.
        facts: ``spread`` of the repeats, how often they were ``remeasured``, and ``celsius`` and
            ``throttled`` of the board after them, if it can read them.
    """

    seconds: list[float] | None
    error_kind: str | None
    error: str | None
    board: str | None
    wall: float
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def figure(self) -> float | None:
        """The seconds that stand for this candidate: see :func:`figure`."""
        return figure(self.seconds)


def figure(seconds: Sequence[float] | None) -> float | None:
    """The lower quartile of the repeats: other load on a board only ever adds time."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return ordered[(len(ordered) - 1) // 4]


@dataclass
class Work:
    """A submitted job, and the boards that it failed on."""

    job: RunJob
    future: Future[RunResult]
    failed_on: list[str] = field(default_factory=list)
