"""Where frames come from: arrays in memory, a file of raw frames, or a pipe that a camera feeds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tvmkd.base.errors import InputError
from tvmkd.deploy.streaming.clock import Clock

Pixels = NDArray[np.uint8]
"""uint8 RGB ``[H, W, 3]``."""


@dataclass(frozen=True)
class Release:
    """A frame that is due.

    Attributes:
        number: of the frame, from 0; numbers that are left out were dropped.
        at: when the frame was released, ns of the clock: its latency counts from there.
    """

    number: int
    at: int


class Frames(Protocol):
    """A source of frames.

    Attributes:
        describes: what they are, for people.
        count: different frames; they repeat after that. Of a pipe 1.
    """

    describes: str
    count: int

    def start(self, clock: Clock, begin: int, period: int) -> None:
        """Sets the clock and the time between two frames (ns); the first is due after ``begin``."""

    def next(self) -> Release | None:
        """Waits for the newest frame that was not taken yet; None at the end, or on a signal."""

    def pixels(self, number: int) -> Pixels:
        """The frame that `next` has returned."""


class Scheduled:
    """Frames that are released by the clock: frame k at ``start + k * period``, without drift.

    Args:
        images: the frames, repeated for ever.
        describes: what they are, for people.
    """

    def __init__(self, images: list[Pixels], describes: str) -> None:
        self.describes, self.count = describes, len(images)
        self._images = images
        self._last = -1

    def start(self, clock: Clock, begin: int, period: int) -> None:
        """See `Frames`. The first frame is due a period after ``begin``."""
        self._clock, self._period = clock, period
        self._begin = begin + period

    def next(self) -> Release:
        """See `Frames`. The newest frame is the last one whose time has come."""
        passed = (self._clock.now() - self._begin) // self._period
        number = self._last = max(self._last + 1, passed)
        at = self._begin + number * self._period
        self._clock.wait_until(at)
        return Release(number, at)

    def pixels(self, number: int) -> Pixels:
        """See `Frames`."""
        return self._images[number % len(self._images)]


class RawFile(Scheduled):
    """Raw RGB frames in a file, one after the other, read when they are due; repeated for ever.

    Args:
        path: the file; each frame has ``3 * width * height`` bytes.
        size: ``(width, height)``.

    Raises:
        InputError: the file cannot be read, or holds no whole number of frames.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        super().__init__([], f"{path}, raw frames of {size[0]}x{size[1]}")
        self._buffer = np.empty((size[1], size[0], 3), np.uint8)
        try:
            self._stream = path.open("rb", buffering=0)
            whole = os.fstat(self._stream.fileno()).st_size
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        self.count, rest = divmod(whole, self._buffer.nbytes)
        if rest or not self.count:
            raise InputError(
                f"{path}: {whole} bytes are no whole number of RGB frames of {size[0]}x{size[1]} "
                f"({self._buffer.nbytes} bytes each); give the frames' --size"
            )

    def pixels(self, number: int) -> Pixels:
        """See `Frames`."""
        self._stream.seek(number % self.count * self._buffer.nbytes)
        if self._stream.readinto(self._buffer.data) != self._buffer.nbytes:
            raise InputError(f"{self._stream.name}: became shorter while it was read")
        return self._buffer


class Pipe:
    """Raw RGB frames from a pipe, released when they arrive: a camera keeps the time.

    A frame that had to be waited for was released when its last byte came. One that lay in the
    pipe already was released a period after the one before, as far as can be known. Frames that
    are older than the newest one are read and dropped.

    Args:
        path: the pipe.
        size: ``(width, height)``.

    Raises:
        InputError: the pipe cannot be opened.
    """

    count = 1
    EARLY = 0.02
    """A camera may be faster than its nominal rate by this share."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.describes = f"raw frames of {size[0]}x{size[1]} from a pipe"
        self._buffer = np.empty((size[1], size[0], 3), np.uint8)
        self._last: Release | None = None
        try:
            self._stream = path.open("rb", buffering=0)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None

    def start(self, clock: Clock, begin: int, period: int) -> None:
        """See `Frames`."""
        del begin
        self._clock, self._period = clock, period

    def next(self) -> Release | None:
        """See `Frames`."""
        last = self._last
        if last is None:
            return self._read(0, None)
        self._clock.wait_until(last.at + int(self._period * (1 - self.EARLY)))
        number, due = last.number + 1, last.at + self._period
        while self._clock.now() - due >= self._period:  # a newer one must have come
            if not self._fill():
                return None
            number, due = number + 1, due + self._period
        return self._read(number, due)

    def pixels(self, number: int) -> Pixels:
        """See `Frames`."""
        return self._buffer

    def _read(self, number: int, due: int | None) -> Release | None:
        if not self._fill():
            return None
        now = self._clock.now()
        self._last = Release(number, now if due is None else min(now, due))
        return self._last

    def _fill(self) -> bool:
        """Reads one frame; False at the end of the stream, where a part of a frame is left out."""
        view = self._buffer.data.cast("B")
        done = 0
        while done < len(view):
            got = self._stream.readinto(view[done:])
            if not got:
                return False
            done += got
        return True
