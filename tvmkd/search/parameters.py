"""One parameter of a search space: its values, how to draw one, what lies beside one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.config.values import DIGITS, Values

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

NEAR = 0.1
"""Share of a range without steps (of its logarithm, where that is drawn evenly) between
neighbours."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a space.

    Attributes:
        name: in structures and in an Optuna study.
        path: of the key in a ``tvmkd.toml``.
        values: which it may have.
        index: the stage of the network that the value is for; None: the whole network.
        multiple: what the model's channel counts are rounded to with this parameter; None: as
            without it.
        needs: other parameters, by name, and those values of each with which this one applies;
            values as `text_of` gives them.
    """

    name: str
    path: str
    values: Values
    index: int | None = None
    multiple: int | None = None
    needs: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def listed(self) -> list[Any] | None:
        """All values in order; None for a range without steps."""
        return self.values.listed()

    @property
    def count(self) -> int | None:
        """How many values there are; None: infinitely many."""
        return None if self.listed is None else len(self.listed)

    def applies(self, structure: Mapping[str, Any]) -> bool:
        """Whether a network with the values so far has this parameter."""
        return all(
            name in structure and text_of(structure[name]) in allowed
            for name, allowed in self.needs.items()
        )

    def draw(self, rng: np.random.Generator) -> Any:
        """A random value: each alike, or evenly over the logarithm of a range with ``log``."""
        if self.listed is None:
            return self._at(rng.random())
        if self.values.log and len(self.listed) > 1:
            return self.snap(math.exp(rng.uniform(*self._ends)))
        return self.listed[int(rng.integers(len(self.listed)))]

    def near(self, value: Any) -> list[Any]:
        """The values beside one: a step down and up; all others of a list without an order."""
        if self.listed is None:
            place = self._place(value)
            found = [self._at(place + step) for step in (-NEAR, NEAR)]
        elif self._ordered:
            order = sorted(self.listed)
            index = order.index(self.snap(value))
            found = order[max(0, index - 1) : index] + order[index + 1 : index + 2]
        else:
            found = self.listed
        return [other for other in found if text_of(other) != text_of(value)]

    def mutated(self, value: Any, rng: np.random.Generator) -> Any:
        """Another value: one beside it, or a random one, equally often."""
        near = self.near(value)
        if near and rng.random() < 0.5:
            return near[int(rng.integers(len(near)))]
        if self.listed is None:
            return self.draw(rng)
        others = [other for other in self.listed if text_of(other) != text_of(value)]
        return others[int(rng.integers(len(others)))] if others else value

    def snap(self, value: Any) -> Any:
        """The value of this parameter that a number or a text in a study stands for.

        Raises:
            ValueError: it stands for none.
        """
        if self.listed is None:
            low, high = self._bounds
            number = _number(value)
            if number is None or not low - 1e-9 <= number <= high + 1e-9:
                raise ValueError(f"{self.name} = {value!r}: not from {low:g} to {high:g}")
            return float(round(min(max(number, low), high), DIGITS))
        for known in self.listed:
            if text_of(known) == text_of(value) or (
                isinstance(value, str) and value == code(known)
            ):
                return known
        number = _number(value)
        if number is not None and self._ordered:
            nearest = min(self.listed, key=lambda known: abs(known - number))
            if abs(nearest - number) <= self._tolerance:
                return nearest
        raise ValueError(f"{self.name} = {value!r}: not one of its values")

    # In an Optuna study.

    @property
    def distribution(self) -> BaseDistribution:
        """The parameter for Optuna: a range where the values are evenly spaced numbers."""
        from optuna import distributions as kinds

        if self.listed is None:
            return kinds.FloatDistribution(*self._bounds, log=self.values.log)
        if self.values.log and len(self.listed) > 1:
            return kinds.IntDistribution(self.listed[0], self.listed[-1], log=True)
        step = self._step
        if step is None:
            return kinds.CategoricalDistribution([code(value) for value in self.listed])
        low, high = min(self.listed), max(self.listed)
        if all(isinstance(value, int) for value in self.listed):
            return kinds.IntDistribution(low, high, step=int(step))
        return kinds.FloatDistribution(float(low), float(high), step=step)

    def suggest(self, trial: BaseTrial) -> Any:
        """The value that an Optuna trial chooses."""
        from optuna import distributions as kinds

        known = self.distribution
        if isinstance(known, kinds.CategoricalDistribution):
            found: Any = trial.suggest_categorical(self.name, known.choices)
        elif isinstance(known, kinds.IntDistribution):
            found = trial.suggest_int(
                self.name, known.low, known.high, step=known.step, log=known.log
            )
        else:
            assert isinstance(known, kinds.FloatDistribution)
            found = trial.suggest_float(
                self.name, known.low, known.high, step=known.step, log=known.log
            )
        return self.snap(found)

    @property
    def distance(self) -> Callable[[Any, Any], float] | None:
        """How far apart two of Optuna's values are, for a list of numbers that it takes as names.

        For ``TPESampler(categorical_distance_func=...)``. None: the values have no order, or Optuna
        knows it.
        """
        if not self._ordered or self._step is not None or self.values.log:
            return None
        return lambda first, second: abs(float(first) - float(second))

    @property
    def _bounds(self) -> tuple[float, float]:
        assert self.values.low is not None
        assert self.values.high is not None
        return float(self.values.low), float(self.values.high)

    @property
    def _ends(self) -> tuple[float, float]:
        low, high = self._bounds
        return (math.log(low), math.log(high)) if self.values.log else (low, high)

    def _place(self, value: float) -> float:
        low, high = self._ends
        return ((math.log(value) if self.values.log else value) - low) / (high - low)

    def _at(self, place: float) -> float:
        """The value at a place from 0 to 1 of a range without steps."""
        low, high = self._ends
        found = low + min(max(place, 0.0), 1.0) * (high - low)
        found = math.exp(found) if self.values.log else found
        lowest, highest = self._bounds
        return float(round(min(max(found, lowest), highest), DIGITS))

    @cached_property
    def _ordered(self) -> bool:
        return self.listed is not None and all(_number(each) is not None for each in self.listed)

    @cached_property
    def _step(self) -> float | None:
        """The distance of evenly spaced numbers; None: they are not, or there are fewer than 3."""
        if self.listed is None or not self._ordered or len(self.listed) < 3:
            return None
        order = sorted(self.listed)
        gaps = np.diff(np.array(order, float))
        if np.ptp(gaps) > 1e-9 * gaps.max():
            return None
        return float(round(gaps[0], DIGITS))

    @property
    def _tolerance(self) -> float:
        assert self.listed is not None
        order = sorted(self.listed)
        return 1e-6 if len(order) < 2 else float(np.diff(np.array(order, float)).min()) / 2


def text_of(value: Any) -> str:
    """A value as text: equal for values that are the same, such as 1 and 1.0."""
    number = _number(value)
    return json.dumps(value if number is None else float(round(number, DIGITS)), sort_keys=True)


def code(value: Any) -> str | int | float | bool:
    """A value as Optuna stores it: lists and tables as JSON."""
    return value if isinstance(value, (str, int, float)) else json.dumps(value, sort_keys=True)


def _number(value: Any) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, (int, float)) else value
