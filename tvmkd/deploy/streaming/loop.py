"""The loop of a stream: waits for a frame, runs its steps, and decides what to do when late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvmkd.deploy.streaming.clock import Clock
from tvmkd.deploy.streaming.frames import Frames
from tvmkd.deploy.streaming.ladder import Ladder
from tvmkd.deploy.streaming.model import Model
from tvmkd.deploy.streaming.pipeline import Pipeline
from tvmkd.deploy.streaming.record import Record, Row

WINDOW = 16
"""So many of the last post-processing times are looked at, for the model's deadline."""
LEAST_SLACK = 2_000_000
"""Nanoseconds that must be left before the next frame for other work to be done."""
MOST_DELAY = 2_000_000_000
"""After so many nanoseconds the other work is done even without time for it."""


@dataclass(frozen=True)
class Rung:
    """A model with its steps."""

    model: Model
    steps: Pipeline


class Loop:
    """Runs frames through the current model until it is stopped.

    Args:
        rungs: the models, the best first.
        frames: the source, not yet started.
        clock: of the machine, or a test's.
        period: ns between two frames.
        budget: ns from a frame's release to its end.
        record: takes a row for each frame.
        ladder: chooses the model; None: the first.
        idle: work to do between frames, when there is time: telemetry, messages.
        every: ns between two calls of ``idle``.
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        frames: Frames,
        clock: Clock,
        period: int,
        budget: int,
        record: Record,
        ladder: Ladder | None = None,
        idle: Callable[[], None] = lambda: None,
        every: int = 500_000_000,
    ) -> None:
        self._rungs, self._frames, self._clock = list(rungs), frames, clock
        self._period, self._budget = period, budget
        self._record, self._ladder = record, ladder
        self._idle, self._every = idle, every
        self._after: deque[int] = deque([0], maxlen=WINDOW)
        self.begun = 0
        self.ended = False
        """True once the source has no more frames."""

    def run(self, seconds: float, stopped: Callable[[], bool] = lambda: False) -> None:
        """Runs for so long, or until ``stopped`` returns true, or the source ends."""
        frames, clock = self._frames, self._clock
        self.begun = told = clock.now()
        end = self.begun + int(seconds * 1e9)
        last = -1
        frames.start(clock, self.begun, self._period)
        while not (stopped() or self._record.full):
            due = frames.next()
            if due is None:
                self.ended = True
                return
            if due.at >= end or stopped():
                return
            finish = self._frame(due.number, due.at)
            if self._ladder is not None:
                self._report(due.number - last - 1, finish, due.at)
            last = due.number
            now = clock.now()
            waited = now - told
            slack = due.at + self._period - now
            if waited >= self._every and (slack >= LEAST_SLACK or waited >= MOST_DELAY):
                self._idle()
                told = clock.now()

    def _frame(self, number: int, release: int) -> int:
        """One frame through all steps; returns its end."""
        clock, place = self._clock.now, 0 if self._ladder is None else self._ladder.rung
        rung = self._rungs[place]
        begin = clock()
        pixels = self._frames.pixels(number)
        captured = clock()
        deadline = release + self._budget - max(self._after)
        if rung.model.run_frame is not None:
            done = rung.model.run_frame(pixels, deadline)
            finish = clock()
            # The library has timed its own steps; the call's cost counts as post-processing.
            prepared = captured + done.prepare
            ran, taken = prepared + done.model, done.exit
        else:
            values = rung.steps.prepare(pixels)
            prepared = clock()
            outputs, taken = rung.model.run(values, deadline)
            ran = clock()
            rung.steps.finish(outputs, pixels)
            finish = clock()
        self._after.append(finish - ran)
        row: Row = (number, release, begin, captured, prepared, ran, finish, place, taken)
        self._record.add(row)
        return finish

    def _report(self, dropped: int, finish: int, release: int) -> None:
        """Tells the ladder of a frame and of those that were dropped before it."""
        assert self._ladder is not None
        second = (finish - self.begun) / 1e9
        for _ in range(dropped):
            self._ladder.see(second, None)
        self._ladder.see(second, (finish - release) / 1e6)
