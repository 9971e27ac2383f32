"""What the user sees during tuning: a live table, or plain lines if stderr is no terminal.

The table is redrawn only when an event comes in, never by a separate thread: an animation
would take its CPU from the kernel that is being timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tvmkd.base.console import console, say

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Follow = Callable[[str, dict[str, Any]], None]
REDRAW_SECONDS = 0.25
LINE_SECONDS = 15.0
ROWS_BESIDE = 9  # lines of the screen that are not rows of tasks


@dataclass
class Row:
    """One task as the table shows it."""

    name: str
    weight: int
    flop: float
    trials: int
    best_us: float | None
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def total_us(self) -> float | None:
        """What the model spends in this kernel, in µs."""
        return None if self.best_us is None else self.weight * self.best_us

    @property
    def gflops(self) -> float | None:
        """The best candidate's throughput in GFLOP/s."""
        return None if not self.best_us or not self.flop else self.flop / self.best_us / 1e3


def duration(seconds: float) -> str:
    """Seconds as people say them: ``42 s``, ``3:05``, ``1:02:03``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def kinds(errors: dict[str, int]) -> str:
    """Counted errors by kind: ``2 run_timeout, 1 build_error``; empty if there are none."""
    ordered = sorted(errors.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)


class Progress:
    """What the events of a tuning run add up to. Knows nothing of screens."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.done = 0
        self.total = 0
        self.end_to_end_us: float | None = None
        self.notes: list[str] = []
        self._left: float | None = None
        self._said = time.monotonic()

    def take(self, name: str, data: dict[str, Any]) -> None:
        """Takes in one event of :func:`tvmkd.tuning.tune.tune`; others are ignored."""
        if name == "tasks":
            for task in data["tasks"]:
                self.rows[task["key"]] = Row(
                    task["name"], task["weight"], task["flop"], task["trials"], task["best_us"]
                )
        elif name == "trial":
            row = self.rows[data["task"]]
            row.trials += 1
            row.best_us = data["best_us"]
            self.done, self.total = data["trials_done"], data["trials_total"]
            if data["error_kind"]:
                kind = data["error_kind"]
                row.errors[kind] = row.errors.get(kind, 0) + 1
        elif name == "estimate":
            self.end_to_end_us = data["end_to_end_us"]
            self._left, self._said = data["time_left_s"], time.monotonic()
        elif name == "note":
            self.notes.append(data["text"])

    @property
    def seconds_left(self) -> float | None:
        """The last estimate, less the time since it was made."""
        if self._left is None:
            return None
        return max(0.0, self._left - (time.monotonic() - self._said))

    @property
    def errors(self) -> dict[str, int]:
        """Errors of all tasks by kind."""
        total: dict[str, int] = {}
        for row in self.rows.values():
            for kind, count in row.errors.items():
                total[kind] = total.get(kind, 0) + count
        return total

    def line(self) -> str:
        """The state in one line."""
        parts = [f"{self.done}/{self.total} trials"]
        if self.end_to_end_us is not None:
            parts.append(f"kernels add up to {self.end_to_end_us / 1e3:.3f} ms")
        if self.errors:
            parts.append(kinds(self.errors))
        left = self.seconds_left
        if left is not None and self.done < self.total:
            parts.append(f"{duration(left)} left")
        return " · ".join(parts)


def table(progress: Progress, rows: int = 30) -> RenderableType:
    """The tasks as a rich table, those that the model spends most time in first.

    Args:
        rows: how many tasks at most; the others are counted in one line.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    result = Table(caption=progress.line(), caption_justify="left", box=SIMPLE_HEAD)
    result.add_column("task", no_wrap=True, overflow="ellipsis", ratio=1)
    for name in ("weight", "trials", "best µs", "GFLOP/s", "share"):
        result.add_column(name, justify="right", no_wrap=True)
    result.add_column("errors", no_wrap=True, overflow="ellipsis")
    known = sum(row.total_us or 0.0 for row in progress.rows.values())
    # What is not measured yet comes first: its share may be the largest of all.
    ordered = sorted(
        progress.rows.values(),
        key=lambda row: -(float("inf") if row.total_us is None else row.total_us),
    )
    for row in ordered[:rows]:
        result.add_row(
            row.name,
            str(row.weight),
            str(row.trials),
            "–" if row.best_us is None else f"{row.best_us:.1f}",
            "–" if row.gflops is None else f"{row.gflops:.1f}",
            "–" if not row.total_us or not known else f"{row.total_us / known:.1%}",
            kinds(row.errors),
        )
    if len(ordered) > rows:
        rest = ordered[rows:]
        share = sum(row.total_us or 0.0 for row in rest) / known if known else 0.0
        trials = sum(row.trials for row in rest)
        result.add_row(f"{len(rest)} more", "", str(trials), "", "", f"{share:.1%}", "")
    return result


@contextmanager
def following(to: Console | None = None) -> Iterator[Follow]:
    """A callback for the events of a tuning run, which shows them while the block runs.

    On a terminal a live table, whose last state stays; elsewhere a line now and then and one at
    the end. Notes are printed as they come.

    Args:
        to: the console (default: the one on stderr).
    """
    screen = to if to is not None else console()
    progress = Progress()
    if not screen.is_terminal:
        last = time.monotonic()

        def follow_in_lines(name: str, data: dict[str, Any]) -> None:
            nonlocal last
            progress.take(name, data)
            if name == "note":
                print_line(data["text"])
            elif name == "estimate" and time.monotonic() - last >= LINE_SECONDS:
                last = time.monotonic()
                print_line(progress.line())

        def print_line(text: str) -> None:
            if to is None:
                say(text)
            else:
                screen.print(text, markup=False, soft_wrap=True)

        try:
            yield follow_in_lines
        finally:
            if progress.total:
                print_line(progress.line())
        return
    from rich.live import Live

    rows = max(3, screen.height - ROWS_BESIDE)
    with Live(console=screen, auto_refresh=False) as live:
        drawn = 0.0

        def follow(name: str, data: dict[str, Any]) -> None:
            nonlocal drawn
            progress.take(name, data)
            if name == "note":
                live.console.print(data["text"], markup=False)
            if name != "trial" or time.monotonic() - drawn >= REDRAW_SECONDS:
                drawn = time.monotonic()
                live.update(table(progress, rows), refresh=True)

        try:
            yield follow
        finally:
            if progress.rows:
                live.update(table(progress, rows), refresh=True)
