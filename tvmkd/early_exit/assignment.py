"""Assigns images to exits: as few losses as a mean cost allows, and the thresholds that do so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tvmkd.base.exits import NEVER

Array = np.ndarray

MOST = 4096  # limit of the combinations of shares, all of which are evaluated


@dataclass
class _Search:
    """The search over shares; see `assign`.

    Attributes:
        best: losses, less the confidence of the exits taken, and how many leave at each exit.
    """

    order: list[Array]
    scores: Sequence[Array]
    lost: Array
    sure: Array
    costs: Sequence[float]
    budget: float
    levels: Array
    best: tuple[float, float] = (np.inf, np.inf)
    counts: tuple[int, ...] = field(default=())

    def at(self, index: int, remaining: Array, counts: tuple[int, ...], so_far: Array) -> None:
        """Tries every share that leaves at an exit; ``so_far``: losses, confidence and cost."""
        ranked = self.order[index][remaining[self.order[index]]]
        values = self.scores[index][ranked]
        last = index + 1 == len(self.scores)
        wanted = self._least(index, len(ranked), so_far[2]) if last else self._some(len(ranked))
        for count in dict.fromkeys(_with_ties(values, each) for each in wanted):
            leaving = ranked[:count]
            own = (
                self.lost[index, leaving].sum(),
                self.sure[index, leaving].sum(),
                self.costs[index] * count,
            )
            now = so_far + np.array(own)
            after = remaining.copy()
            after[leaving] = False
            if not last:
                self.at(index + 1, after, (*counts, count), now)
                continue
            result = (float(now[0]), -float(now[1] + self.sure[-1, after].sum()))
            if result < self.best:
                self.best = result
                self.counts = (*counts, count, len(ranked) - count)

    def _some(self, images: int) -> list[int]:
        return [int(each) for each in np.round(self.levels * images)]

    def _least(self, index: int, images: int, spent: float) -> list[int]:
        """The fewest that must leave at the last branch; none if the budget is spent already."""
        stay, leave = self.costs[-1], self.costs[index]
        over = spent + stay * images - self.budget
        if over <= 0:
            return [0]
        if stay <= leave or over > (stay - leave) * images * (1 + 1e-9):
            return []
        return [min(images, int(np.ceil(over / (stay - leave) - 1e-9)))]


def assign(
    scores: Sequence[Array], right: Array, sure: Array, costs: Sequence[float], budget: float
) -> tuple[float, ...]:
    """The share of the images that leaves at each exit, best within a mean cost.

    At each exit those with the largest scores leave (EENet's exit distribution; Ilhan et al., WACV
    2024). Shares of the exits are tried on a grid; that of the last branch follows from the budget.
    The fewest images are lost; then the exits that are taken are the surest. An image is lost as in
    `tvmkd.early_exit.calibrate.calibrate`: one that becomes right does not make up for it.

    Args:
        scores: of each exit but the last, float64 ``[N]``.
        right: whether each exit is right, bool ``[exits, N]``.
        sure: confidence of each exit, float64 ``[exits, N]``.
        costs: of running up to and including each exit; ascending.
        budget: greatest mean cost, at least that of the first exit.

    Returns:
        the shares, including the last exit's; they add up to 1.
    """
    images = right.shape[1]
    grid = max(2, int(MOST ** (1 / max(1, len(scores) - 1))))
    search = _Search(
        [np.argsort(-found, kind="stable") for found in scores],
        scores,
        right[-1] & ~right,
        sure,
        costs,
        budget * images * (1 + 1e-9),
        np.linspace(0, 1, min(grid, images + 1)),
    )
    search.at(0, np.ones(images, bool), (), np.zeros(3))
    return tuple(count / images for count in search.counts)


def _with_ties(values: Array, count: int) -> int:
    """How many leave if so many are wanted: those with equal scores leave together."""
    if not 0 < count < len(values):
        return count
    return int(np.searchsorted(-values, -values[count - 1], side="right"))


def thresholds_of(scores: Sequence[Array], shares: Sequence[float]) -> tuple[float, ...]:
    """The thresholds at which such shares of these images leave; no labels are needed.

    Each lies halfway between the score of an image that leaves and of one that goes on, so that
    rounding cannot move either.

    Args:
        scores: of each exit but the last, float64 ``[N]``, in 0 to 1.
        shares: of all images that leave at each exit, including the last.
    """
    remaining = np.ones(len(scores[0]), bool)
    found = []
    for own, share in zip(scores, shares, strict=False):
        values = np.sort(own[remaining])[::-1]
        count = _with_ties(values, min(len(values), round(share * len(own))))
        if not count:
            found.append(NEVER)
            continue
        threshold = 0.0
        if count < len(values):
            inside, outside = float(values[count - 1]), float(values[count])
            middle = outside + (inside - outside) / 2
            threshold = middle if middle > outside else inside
        threshold = min(threshold, 1.0)  # a score of 1 may be rounded up, and above 1 is `NEVER`
        found.append(threshold)
        remaining &= own < threshold
    return tuple(found)
