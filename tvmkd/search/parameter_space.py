"""Parameters and their structures: drawn, changed, listed, and as Optuna has them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.base.errors import InputError, UsageError
from tvmkd.search.parameters import Parameter, code
from tvmkd.search.structure import Structure, text

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

TRIES = 100
"""Random structures in a row that may be refused before a space counts as empty."""
GRID = 10_000
"""Structures that `ParameterSpace.grid` lists at most."""


class ParameterSpace:
    """Structures: dicts with the values of the parameters that apply, in order.

    A parameter such as ``width`` is not in a structure whose model has no such argument.

    Args:
        parameters: each after those that it depends on.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)

    def problem(self, structure: Mapping[str, Any]) -> str | None:
        """Why a structure is refused; None: it is accepted."""
        del structure
        return None

    @cached_property
    def size(self) -> int | None:
        """The number of structures; None: infinitely many. Some may be refused, some be alike."""
        controls = self._controls
        if any(each.count is None for each in self.parameters):
            return None
        others = [each for each in self.parameters if each not in controls]
        return sum(
            math.prod(each.count or 1 for each in others if each.applies(chosen))
            for chosen in self._products(controls)
        )

    def describe(self) -> dict[str, str]:
        """The parameters and their values as text, for reports."""
        return {each.name: described(each) for each in self.parameters}

    # Choosing structures.

    def first(self, values: Mapping[str, Any]) -> Structure:
        """The structure with some values, and the first of every other parameter."""
        return self._filled(values, None)

    def draw(self, rng: np.random.Generator) -> Structure:
        """A random structure that is accepted.

        Raises:
            InputError: a hundred in a row are refused; says why the last one was.
        """
        return self._accepted(lambda: self._filled({}, rng))

    def suggest(self, trial: BaseTrial) -> Structure:
        """The structure that an Optuna trial chooses; `apply` may refuse it."""
        found: Structure = {}
        for each in self.parameters:
            if each.applies(found):
                found[each.name] = each.suggest(trial)
        return found

    def grid(self) -> list[Structure]:
        """All structures that are accepted.

        Raises:
            UsageError: there are more than `GRID`.
        """
        if self.size is None or self.size > GRID:
            count = "infinitely many" if self.size is None else str(self.size)
            raise UsageError(f"the space has {count} networks; a grid lists at most {GRID}")
        return [found for found in self._products(self.parameters) if self.problem(found) is None]

    def neighbours(self, structure: Mapping[str, Any]) -> list[Structure]:
        """The accepted structures that differ in one parameter, by one step where it has steps.

        Parameters that apply only then have their first value.
        """
        found = [
            self._filled({**structure, each.name: value}, None)
            for each in self.parameters
            if each.name in structure
            for value in each.near(structure[each.name])
        ]
        return [each for each in found if self.problem(each) is None]

    def mutate(
        self, structure: Mapping[str, Any], rng: np.random.Generator, rate: float | None = None
    ) -> Structure:
        """A structure with some other values, at least one if any parameter has two.

        Args:
            structure: stays as it is.
            rng: draws the change.
            rate: probability for each parameter; None: one in the number of parameters.

        Raises:
            InputError: as `draw`.
        """
        own = self.normalise(structure)
        names = [each for each in self.parameters if each.name in own and each.count != 1]
        share = 1 / max(1, len(names)) if rate is None else rate

        def once() -> Structure:
            changed = [each for each in names if rng.random() < share]
            if names and not changed:
                changed = [names[int(rng.integers(len(names)))]]
            new = {each.name: each.mutated(own[each.name], rng) for each in changed}
            return self._filled({**own, **new}, rng)

        return self._accepted(once)

    def crossover(
        self, first: Mapping[str, Any], second: Mapping[str, Any], rng: np.random.Generator
    ) -> Structure:
        """A structure with each value from one of two (uniform crossover).

        Raises:
            InputError: as `draw`.
        """

        def once() -> Structure:
            mixed = {}
            for each in self.parameters:
                pair = [parent for parent in (first, second) if each.name in parent]
                if pair:
                    mixed[each.name] = pair[int(rng.integers(len(pair)))][each.name]
            return self._filled(mixed, rng)

        return self._accepted(once)

    def normalise(self, structure: Mapping[str, Any]) -> Structure:
        """The structure with the parameters that apply, in order, each a value of the space.

        Raises:
            InputError: one is missing, or has another value.
        """
        found: Structure = {}
        for each in self.parameters:
            if each.applies(found):
                if each.name not in structure:
                    raise InputError(f"{text(structure)}: {each.name} is missing")
                try:
                    found[each.name] = each.snap(structure[each.name])
                except ValueError as error:
                    raise InputError(f"{text(structure)}: {error}") from None
        return found

    # In an Optuna study.

    def params(self, structure: Mapping[str, Any]) -> dict[str, Any]:
        """A structure as an Optuna trial has it, for ``study.enqueue_trial``."""
        own = self.normalise(structure)
        return {name: code(value) for name, value in own.items()}

    def structure(self, params: Mapping[str, Any]) -> Structure:
        """The structure of a trial's ``params``.

        Raises:
            InputError: they are of another space.
        """
        return self.normalise(params)

    def distances(self) -> dict[str, Callable[[Any, Any], float]]:
        """For ``optuna.samplers.TPESampler(categorical_distance_func=...)``; see `Parameter`."""
        found = {each.name: each.distance for each in self.parameters}
        return {name: distance for name, distance in found.items() if distance is not None}

    def distributions(self, structure: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The distributions of a structure's parameters, for ``optuna.create_trial``."""
        return {each.name: each.distribution for each in self.parameters if each.name in structure}

    def _filled(self, values: Mapping[str, Any], rng: np.random.Generator | None) -> Structure:
        """The values of the parameters that apply; missing ones are drawn, or the first."""
        found: Structure = {}
        for each in self.parameters:
            if each.applies(found):
                if each.name in values:
                    found[each.name] = values[each.name]
                elif rng is None:
                    found[each.name] = each.values.samples()[0]
                else:
                    found[each.name] = each.draw(rng)
        return found

    def _accepted(self, make: Callable[[], Structure]) -> Structure:
        problem = None
        for _ in range(TRIES):
            found = make()
            problem = self.problem(found)
            if problem is None:
                return found
        raise InputError(f"{TRIES} networks of the space in a row are refused: {problem}")

    @property
    def _controls(self) -> list[Parameter]:
        """The parameters on which others depend."""
        names = {name for each in self.parameters for name in each.needs}
        return [each for each in self.parameters if each.name in names]

    def _products(self, parameters: Iterable[Parameter]) -> Iterator[Structure]:
        """Every structure of some parameters."""
        found: list[Structure] = [{}]
        for each in parameters:
            found = list(
                itertools.chain.from_iterable(
                    [{**one, each.name: value} for value in each.listed or []]
                    if each.applies(one)
                    else [one]
                    for one in found
                )
            )
        return iter(found)


def described(parameter: Parameter) -> str:
    """The values of a parameter, for people: ``0.25 to 1.5, step 0.125``."""
    values = parameter.values
    if values.choices is not None:
        return ", ".join(str(value) for value in values.choices)
    kind = ", logarithmic" if values.log else f", step {values.step:g}" if values.step else ""
    efficient = ", efficient channel counts" if values.channels else ""
    return f"{values.low:g} to {values.high:g}{kind}{efficient}"
