"""What happened to each frame: one row of times, in memory that is touched before the stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STAGES = ("capture", "pre-processing", "model", "post-processing")
COLUMNS = ("number", "release", "begin", "captured", "prepared", "ran", "finish", "rung", "exit")
MOST_ROWS = 20_000_000

Row = tuple[int, int, int, int, int, int, int, int, int]
Table = NDArray[np.int64]


@dataclass
class Record:
    """The frames of a stream, one row of `COLUMNS` each; times in ns of the monotonic clock.

    Args:
        most: number of frames to have room for.
    """

    most: int

    def __post_init__(self) -> None:
        self._rows = np.zeros((min(self.most, MOST_ROWS), len(COLUMNS)), np.int64)
        self._rows.fill(-1)  # touches every page now, so that no frame waits for one
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether there is no room for another frame."""
        return self.count >= len(self._rows)

    def add(self, row: Row) -> None:
        """Takes the next frame."""
        self._rows[self.count] = row
        self.count += 1

    def table(self) -> Table:
        """The frames so far: int64 ``[frames, len(COLUMNS)]``."""
        return self._rows[: self.count]


def column(table: Table, name: str) -> NDArray[np.int64]:
    """One column of a table."""
    found: NDArray[np.int64] = table[:, COLUMNS.index(name)]
    return found


def stage_ms(table: Table) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each of `STAGES`."""
    times = table[:, COLUMNS.index("begin") : COLUMNS.index("finish") + 1]
    return dict(zip(STAGES, (np.diff(times, axis=1) / 1e6).T, strict=True))


def latency_ms(table: Table) -> NDArray[np.float64]:
    """Milliseconds from each frame's release to its end."""
    found: NDArray[np.float64] = (column(table, "finish") - column(table, "release")) / 1e6
    return found
