"""Which task gets the next batch of trials: a gradient scheduler in Ansor's manner.

After every task has had a batch, the next one goes where the model's end-to-end time is expected
to fall most: weight times a mix of how fast the task's best has been falling and how much could
still be gained (bounded by what tasks of the same kind reach).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ALPHA = 0.2  # weight of the past gradient against the optimistic guess
BETA = 2.0  # a task may reach at most this many times the best throughput of its kind
WINDOW = 3  # batches over which the past gradient is taken
EPSILON = 0.05  # share of the batches that go to any task, lest one is starved
GIVE_UP = 3  # batches without a single success after which a task waits for the others


@dataclass
class _State:
    weight: float
    flop: float
    kind: str
    bests: list[float | None] = field(default_factory=list)  # after each batch
    start: float | None = None
    flying: int = 0  # batches on their way
    done: bool = False

    @property
    def best(self) -> float | None:
        return self.bests[-1] if self.bests else self.start


class TaskScheduler:
    """Chooses tasks by index.

    Args:
        tasks: weight, floating point operations and kind of each task.
    """

    def __init__(self, tasks: Sequence[tuple[float, float, str]]) -> None:
        self._states = [_State(weight, flop, kind) for weight, flop, kind in tasks]

    def resume(self, index: int, best: float | None, batches: int) -> None:
        """Tells of earlier batches of a task, and its best seconds after them."""
        state = self._states[index]
        state.start = best
        state.bests = [best] * batches

    def begin(self, index: int) -> None:
        """Tells that a batch of a task is on its way: until `record` it counts as one without a
        gain, so that the next batches go to other tasks."""
        self._states[index].flying += 1

    def record(self, index: int, best: float | None) -> None:
        """Tells the best seconds of a task after one more batch (None: no success yet)."""
        state = self._states[index]
        state.bests.append(best)
        state.flying = max(0, state.flying - 1)

    def drop(self, index: int) -> None:
        """A task whose space is exhausted gets no more batches."""
        self._states[index].done = True

    def next(self, rng: np.random.Generator) -> int | None:
        """The index of the task for the next batch, or None when every task was dropped."""
        open_tasks = [i for i, state in enumerate(self._states) if not state.done]
        if not open_tasks:
            return None
        fresh = [i for i in open_tasks if not self._states[i].bests and not self._states[i].flying]
        if fresh:
            return fresh[0]
        if rng.random() < EPSILON:
            return int(rng.choice(open_tasks))
        return max(open_tasks, key=lambda i: (self._gain(i), -len(self._states[i].bests), -i))

    def _gain(self, index: int) -> float:
        """Seconds of end-to-end time that one more batch for this task may save."""
        state = self._states[index]
        batches = len(state.bests) + state.flying
        best = state.best
        if best is None:
            return float("inf") if batches < GIVE_UP and not state.flying else 0.0
        earlier = state.bests[-1 - WINDOW] if len(state.bests) > WINDOW else None
        falling = 0.0 if earlier is None else (earlier - best) / WINDOW
        hope = best / batches
        peers = [
            other.flop / other.best
            for other in self._states
            if other.kind == state.kind and other.best and other.flop > 0
        ]
        if state.flop > 0 and len(peers) > 1:
            hope = min(hope, max(best - state.flop / max(peers) / BETA, 0.0))
        return state.weight * (ALPHA * falling + (1 - ALPHA) * hope)
