"""What a study looks for, as Optuna's objectives, constraints and pruning scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tvmkd.base.errors import InputError, UsageError
from tvmkd.config.budget import Budget
from tvmkd.search.choice import Objective
from tvmkd.search.latency.prediction import Prediction

Unit = Literal["ms", "M instructions", "M MACs"]

UNITS: dict[str, Unit] = {"s": "ms", "instructions": "M instructions", "MACs": "M MACs"}
"""A study's unit, by the unit of its latency predictor. One is 1e-3 seconds, or 1e6 of the counts
of which a second stands for 1e9."""


def in_unit(seconds: float) -> float:
    """A predictor's seconds in a study's unit."""
    return seconds * 1e3


def limit(budget: Budget | None, unit: Unit) -> float | None:
    """The budget in a study's unit.

    Raises:
        InputError: it is of another kind than what the target's predictor answers.
    """
    if budget is None:
        return None
    if (budget.unit == "ms") != (unit == "ms"):
        what = "time, such as 5ms" if unit == "ms" else f"{unit}, such as 12M"
        raise InputError(f"the budget {budget} does not fit: this target's latencies are {what}")
    return budget.value


@dataclass(frozen=True)
class Goal:
    """A study's objective.

    Attributes:
        objective: see ``[search] objective``.
        budget: the greatest latency; latencies here are all in the study's unit.
        alpha, beta: of ``weighted``.
        maximize: whether a higher score of a network is better.

    Raises:
        UsageError: ``weighted`` without a budget.
    """

    objective: Objective
    budget: float | None = None
    alpha: float = 1.0
    beta: float = 1.0
    maximize: bool = True

    def __post_init__(self) -> None:
        if self.objective == "weighted" and self.budget is None:
            raise UsageError(
                'objective = "weighted" weighs latency as a share of the budget: give one, such as '
                "--budget 5ms"
            )

    @property
    def several(self) -> bool:
        """Whether there are two objectives: Optuna's pruners are for one alone."""
        return self.objective == "front"

    @property
    def directions(self) -> list[str]:
        """Of the objectives."""
        score = "maximize" if self.maximize else "minimize"
        if self.objective == "weighted":
            return ["minimize"]
        return [score, "minimize"] if self.several else [score]

    @property
    def names(self) -> list[str]:
        """Of the objectives, for Optuna's dashboard."""
        return {
            "accuracy": ["score"],
            "weighted": ["cost"],
            "front": ["score", "latency"],
        }[self.objective]

    def values(self, score: float, latency: float) -> list[float]:
        """The objectives of a network."""
        if self.objective == "weighted":
            return [self.cost(score, latency)]
        return [score, latency] if self.several else [score]

    def cost(self, score: float, latency: float) -> float:
        """α · (1 - score) + β · latency / budget; see `tvmkd.search.choice.weighted_cost`."""
        assert self.budget is not None
        lost = 1 - score if self.maximize else score
        return self.alpha * lost + self.beta * latency / self.budget

    def excess(self, latency: float) -> float | None:
        """Optuna's constraint: how far a latency is above the budget, as a share; None: no limit.

        ``weighted`` has none: its budget is a scale.
        """
        if self.budget is None or self.objective == "weighted":
            return None
        return latency / self.budget - 1

    def hopeless(self, prediction: Prediction, costs: Sequence[float] = ()) -> str | None:
        """Why a network need not be trained; None: it may win.

        Args:
            prediction: of its latency.
            costs: ``weighted``: of the networks that are known.
        """
        low = in_unit(prediction.low)
        if self.objective == "weighted":
            # A network that makes no error still costs its latency.
            least = self.cost(1.0 if self.maximize else 0.0, low)
            if costs and least >= min(costs):
                return f"costs at least {least:.3g}, and {min(costs):.3g} is known"
            return None
        if self.budget is not None and low > self.budget:
            return "is slower than the budget"
        return None
