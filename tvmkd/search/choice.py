"""Which network of a search to take: what each objective picks, and what must be measured first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tvmkd.search.front import accuracy_of, front, knee, latency_of, usable
from tvmkd.search.results import Point, Study

Objective = Literal["accuracy", "weighted", "front"]


@dataclass(frozen=True)
class Choice:
    """The network that an objective picks.

    Attributes:
        winner: None where no point qualifies.
        unsure: points that would win if a measurement showed them within the budget: they are not
            measured, and the interval of their predicted time contains the budget. Best first.
        fastest: the complete point with the least latency, for the message that nothing meets the
            budget; None without any.
    """

    winner: Point | None = None
    unsure: list[Point] = field(default_factory=list)
    fastest: Point | None = None


def within(point: Point, budget: float | None) -> bool:
    """Whether a point meets the budget: by its measured time, else by its interval's high end."""
    if budget is None:
        return True
    worst = point.measured
    if worst is None:
        worst = point.predicted if point.high is None else point.high
    return worst is not None and worst <= budget


def undecided(point: Point, budget: float | None) -> bool:
    """Whether only a measurement can tell if a point meets the budget."""
    if budget is None or point.measured is not None or within(point, budget):
        return False
    best = point.predicted if point.low is None else point.low
    return best is not None and best <= budget


def weighted_cost(
    point: Point, budget: float, alpha: float, beta: float, *, maximize: bool = True
) -> float:
    """α · (1 - accuracy) + β · latency / budget; less is better."""
    lost = 1 - accuracy_of(point) if maximize else accuracy_of(point)
    return alpha * lost + beta * latency_of(point) / budget


def choose(
    points: Sequence[Point],
    objective: Objective,
    *,
    budget: float | None = None,
    maximize: bool = True,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Choice:
    """The network that an objective picks.

    ``accuracy``: the most accurate within the budget; of equally accurate ones the fastest.
    ``weighted``: the least `weighted_cost`; latencies over the budget cost, and are not forbidden.
    Without a budget, the slowest point's latency stands for it. ``front``: the knee of those within
    the budget.
    """
    known = usable(points)
    if not known:
        return Choice()
    fastest = min(known, key=latency_of)

    def rank(point: Point) -> tuple[float, float]:
        return (-accuracy_of(point) if maximize else accuracy_of(point), latency_of(point))

    if objective == "weighted":
        unit = budget or max(map(latency_of, known))
        best = min(
            known, key=lambda p: (weighted_cost(p, unit, alpha, beta, maximize=maximize), rank(p))
        )
        return Choice(best, [], fastest)
    allowed = [point for point in known if within(point, budget)]
    if objective == "front":
        winner = knee(allowed, maximize=maximize)
        rivals = [point for point in front(known, maximize=maximize) if undecided(point, budget)]
        return Choice(winner, sorted(rivals, key=rank), fastest)
    winner = min(allowed, key=rank, default=None)
    rivals = [point for point in known if undecided(point, budget)]
    if winner is not None:
        rivals = [point for point in rivals if rank(point) < rank(winner)]
    return Choice(winner, sorted(rivals, key=rank), fastest)


def of_study(study: Study) -> Choice:
    """`choose` with a study's own objective, budget and weights."""
    return choose(
        study.points,
        study.objective,
        budget=study.budget,
        maximize=study.maximize,
        alpha=study.alpha,
        beta=study.beta,
    )
