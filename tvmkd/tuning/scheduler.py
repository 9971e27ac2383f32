"""Which task gets the next batch of trials: a gradient scheduler in the manner of Ansor.

Each task gets one batch first. Then the next batch goes to the task that is expected to reduce the
model's end-to-end time the most: its weight times a mix of how fast its best time has been falling
and how much could still be gained, bounded by what tasks of the same kind reach (Zheng et al.,
"Ansor", OSDI 2020). Each batch that gains nothing halves what a task may still gain; when all of
them together would gain less than a thousandth of the model's time, tuning ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ALPHA = 0.2  # weight of the past gradient; the optimistic guess has the rest
BETA = 2.0  # a task may reach at most this many times the best throughput of its kind
WINDOW = 3  # batches over which the past gradient is taken
EPSILON = 0.05  # share of the batches that go to a random task, so that none is starved
NOTHING = 0.01  # a batch that reduces a task's time by a smaller share has gained nothing
ENOUGH = 0.001  # tuning ends when the tasks may gain a smaller share of the model's time
PATIENCE = 10  # batches that every task gets before tuning may end for want of a gain
GIVE_UP = 3  # a task without a success after this many batches waits for the others


@dataclass
class TaskState:
    """The trials of one task so far.

    Attributes:
        weight: how often the model runs the task.
        flop: its floating point operations; 0 where unknown.
        kind: tasks of one kind are expected to reach similar throughput.
        bests: best seconds after each batch; None while nothing has succeeded.
        start: best seconds from records of earlier runs.
        in_flight: batches proposed and not yet recorded.
        exhausted: its search space has no more candidates.
    """

    weight: float
    flop: float
    kind: str
    bests: list[float | None] = field(default_factory=list)
    start: float | None = None
    in_flight: int = 0
    exhausted: bool = False

    @property
    def stale(self) -> int:
        """How many of the last batches gained nothing."""
        pairs = list(zip(self.bests, self.bests[1:], strict=False))
        for count, (before, after) in enumerate(reversed(pairs)):
            if before is None or after is None or after < before * (1 - NOTHING):
                return count
        return len(pairs)

    @property
    def best(self) -> float | None:
        """Best seconds so far, None where there are none."""
        return self.bests[-1] if self.bests else self.start


def expected_gain(state: TaskState, peers: Sequence[float]) -> float:
    """Seconds of end-to-end time that one more batch of a task may save.

    Args:
        peers: operations per second of every task of this kind with a success, its own included.

    Returns:
        infinity for a task without a success, so that it comes first; 0 once it has had
        :data:`GIVE_UP` batches, and while its first success may still be in flight.
    """
    batches = len(state.bests) + state.in_flight
    best = state.best
    if best is None:
        return float("inf") if batches < GIVE_UP and not state.in_flight else 0.0
    earlier = state.bests[-1 - WINDOW] if len(state.bests) > WINDOW else None
    falling = 0.0 if earlier is None else (earlier - best) / WINDOW
    hope = best / batches * 0.5**state.stale
    if state.flop > 0 and len(peers) > 1:
        hope = min(hope, max(best - state.flop / max(peers) / BETA, 0.0))
    return state.weight * (ALPHA * falling + (1 - ALPHA) * hope)


class TaskScheduler:
    """Chooses tasks by index.

    Args:
        tasks: weight, floating point operations and kind of each task.
    """

    def __init__(self, tasks: Sequence[tuple[float, float, str]]) -> None:
        self._states = [TaskState(weight, flop, kind) for weight, flop, kind in tasks]

    def resume(self, index: int, best: float | None, batches: int) -> None:
        """Records the batches of earlier runs, and the best seconds after them."""
        state = self._states[index]
        state.start = best
        state.bests = [best] * batches

    def begin(self, index: int) -> None:
        """Records that a batch is in flight.

        Until `record` it counts as a batch without a gain, so that other tasks get the next ones.
        """
        self._states[index].in_flight += 1

    def record(self, index: int, best: float | None) -> None:
        """Records the best seconds of a task after one more batch (None: no success yet)."""
        state = self._states[index]
        state.bests.append(best)
        state.in_flight = max(0, state.in_flight - 1)

    def drop(self, index: int) -> None:
        """Gives a task no more batches: its space is exhausted."""
        self._states[index].exhausted = True

    def next(self, rng: np.random.Generator) -> int | None:
        """The index of the task for the next batch; None when all tasks are exhausted, or when
        there is nothing more to gain.
        """
        states = self._states
        open_tasks = [index for index, state in enumerate(states) if not state.exhausted]
        if not open_tasks:
            return None
        for index in open_tasks:
            if not states[index].bests and not states[index].in_flight:
                return index
        if self.nothing_to_gain():
            return None
        if rng.random() < EPSILON:
            return int(rng.choice(open_tasks))
        # Equal gains: the task with fewer batches, then the first.
        return max(open_tasks, key=lambda i: (self._gain(i), -len(states[i].bests), -i))

    def nothing_to_gain(self) -> bool:
        """Whether further batches are not expected to make the model noticeably faster."""
        whole = sum(state.weight * (state.best or 0.0) for state in self._states)
        gains = (self._gain(i) for i, state in enumerate(self._states) if not state.exhausted)
        tried = [len(state.bests) for state in self._states if not state.exhausted]
        patient = min(tried, default=0) >= PATIENCE
        return patient and whole > 0 and sum(gains) < ENOUGH * whole

    def _gain(self, index: int) -> float:
        state = self._states[index]
        peers = [
            other.flop / other.best
            for other in self._states
            if other.kind == state.kind and other.best and other.flop > 0
        ]
        return expected_gain(state, peers)
