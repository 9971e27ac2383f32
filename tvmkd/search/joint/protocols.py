"""What the joint search needs from a latency table, a space and a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tvmkd.search.latency.prediction import Kernel, Prediction
from tvmkd.search.structure import Structure

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

Scored = tuple[float, float]
"""Latency (lower is better) and score (higher is better)."""

Lower = Callable[[Structure], Sequence[Kernel]]
"""The kernels that a structure becomes on the target.

Raises a `tvmkd.base.errors.TvmkdError` for a structure that cannot be built.
"""

Train = Callable[[Structure], float]
"""Trains a structure, or evaluates it in a supernet: its score, higher is better.

Raises a `tvmkd.base.errors.TvmkdError` where the training fails.
"""


@dataclass(frozen=True)
class Progress:
    """How far a kernel is tuned.

    Attributes:
        trials: schedules of it that were tried, at least 1.
        first: seconds of the first that ran.
        best: seconds of the best so far.
    """

    trials: int
    first: float
    best: float


@dataclass(frozen=True)
class Spent:
    """What a call of `Tunable.tune` took.

    Attributes:
        board_seconds: for which boards were busy.
        trials: schedules that were tried, failed ones too; fewer than were asked for if no kernel
            has more schedules, or none is expected to gain anything.
    """

    board_seconds: float
    trials: int


class Predictor(Protocol):
    """Predicts latencies: `tvmkd.search.latency.prediction.Latency` is one."""

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        """The time of a network with these kernels."""


@runtime_checkable
class Tunable(Predictor, Protocol):
    """A latency table whose kernels can be tuned further on the board."""

    def progress(self, key: str) -> Progress | None:
        """How far a kernel is tuned; None: nobody has measured it."""

    def tune(self, weights: Mapping[str, float], trials: int) -> Spent:
        """Spends trials on kernels, and corrects the table.

        Args:
            weights: for each kernel's key, what one second saved in it is worth. The kernels are
                of networks that this table has lowered.
            trials: schedules to measure, of all these kernels together. A kernel that nobody has
                measured gets one at least, if there are as many trials as such kernels.

        Raises:
            MissingError: no board answers; what was measured is kept.
        """


class Structures(Protocol):
    """A search space: `tvmkd.search.space.Space` is one."""

    def suggest(self, trial: BaseTrial) -> Structure:
        """The structure that an Optuna trial chooses."""

    def params(self, structure: Mapping[str, Any]) -> dict[str, Any]:
        """A structure as an Optuna trial has it."""

    def distributions(self, structure: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The distributions of a structure's parameters."""

    def draw(self, rng: np.random.Generator) -> Structure:
        """A structure at random."""

    def key(self, structure: Mapping[str, Any]) -> str:
        """The same text for equal structures."""


class Mutable(Structures, Protocol):
    """A space that evolution can work in."""

    def mutate(self, structure: Mapping[str, Any], rng: np.random.Generator) -> Structure:
        """A structure that differs a little."""

    def crossover(
        self, first: Mapping[str, Any], second: Mapping[str, Any], rng: np.random.Generator
    ) -> Structure:
        """Each parameter from one of the two."""
