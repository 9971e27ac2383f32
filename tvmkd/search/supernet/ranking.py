"""Which of several evaluated networks is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.search.front import nondominated

if TYPE_CHECKING:
    from tvmkd.search.study.goal import Goal


@dataclass(frozen=True)
class Judged:
    """A network that was evaluated without training.

    Attributes:
        key: the same for structures that build the same network.
        structure: the values of the space's parameters.
        predicted, low, high: its predicted latency and the interval that holds 90 % of measured
            ones, in the study's unit; None: the network failed.
        interpolated: share of the time that is in kernels which nobody measured.
        score: with the supernet's weights, on validation images; None: it is too slow, or failed.
        macs, parameters: its size.
        error: why it failed, one line.
    """

    key: str
    structure: dict[str, Any]
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    interpolated: float = 0.0
    score: float | None = None
    macs: int | None = None
    parameters: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Ranking:
    """The order of networks by a search's objective.

    Networks within the budget come before those above it, and of these the faster ones before the
    slower (Deb, 2000), so that evolution finds into the budget; failed ones are last.

    Attributes:
        goal: of the search.
        sure: the high end of the predicted interval has to meet the budget: nothing is measured
            that would tell.
    """

    goal: Goal
    sure: bool = False

    def excess(self, judged: Judged) -> float:
        """How far a network is above the budget, as a share of it; 0 within it.

        ``weighted`` has no limit: its budget is a scale.
        """
        latency = judged.high if self.sure else judged.predicted
        if judged.error is not None or latency is None or not math.isfinite(latency):
            return math.inf
        return max(0.0, self.goal.excess(latency) or 0.0)

    def __call__(self, found: Sequence[Judged]) -> list[Judged]:
        """Sorts networks, the best first."""
        usable = [each for each in found if self.excess(each) == 0 and each.score is not None]
        known = {each.key for each in usable}
        others = [each for each in found if each.key not in known]
        best = self._by_front(usable) if self.goal.several else sorted(usable, key=self._value)
        return [*best, *sorted(others, key=self.excess)]

    def _value(self, judged: Judged) -> tuple[float, float]:
        """Less is better."""
        assert judged.score is not None
        assert judged.predicted is not None
        if self.goal.objective == "weighted":
            return self.goal.cost(judged.score, judged.predicted), judged.predicted
        return -judged.score if self.goal.maximize else judged.score, judged.predicted

    def _by_front(self, usable: Sequence[Judged]) -> list[Judged]:
        """Front after front, lonely points of each first (NSGA-II, Deb et al., 2002)."""
        rest, order = list(usable), []
        while rest:
            score = np.array([each.score for each in rest], float)
            cost = np.array([each.predicted for each in rest], float)
            line = nondominated(score, cost, maximize=self.goal.maximize)
            space = crowding(score[line], cost[line])
            order += [rest[line[index]] for index in np.argsort(-space, kind="stable")]
            taken = set(line.tolist())
            rest = [each for index, each in enumerate(rest) if index not in taken]
        return order


def crowding(score: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The distance of each point's neighbours on a front, infinite at its ends: shape (n,).

    Args:
        score, cost: of the points, shape (n,), from cheap to costly.
    """
    found = np.full(len(score), np.inf)
    if len(score) > 2:
        found[1:-1] = sum(
            np.abs(values[2:] - values[:-2]) / (np.ptp(values) or 1.0) for values in (score, cost)
        )
    return found
