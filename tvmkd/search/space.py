"""A search space: parameters, and what their values make of the file's student."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.base.errors import InputError, TvmkdError, UsageError
from tvmkd.search import structure as structures
from tvmkd.search.parameters import Parameter, code, text_of
from tvmkd.search.signatures import Signature
from tvmkd.search.structure import ARGS, Structure

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial
    from torch import nn

    from tvmkd.config import Config
    from tvmkd.distill.task import Task
    from tvmkd.targets import Target

TRIES = 100
"""Random structures in a row that the schema may refuse before a space counts as empty."""
GRID = 10_000
"""Structures that `Space.grid` lists at most."""


class Space:
    """The networks that a search chooses from.

    A structure is a dict with the values of the parameters that apply to it, in the order of
    `parameters`: a parameter such as ``width`` is not in a structure whose model has no such
    argument.

    Args:
        cfg: the file; its ``[search]`` is not read.
        parameters: each after those that it depends on.
        signatures: of the models that the space may choose.
        multiple: the target's channel multiple.
        search_in: folders to look in for a ``module:callable``.
    """

    def __init__(
        self,
        cfg: Config,
        parameters: Sequence[Parameter],
        signatures: Mapping[str, Signature],
        multiple: int = 8,
        search_in: Sequence[Path] = (),
    ) -> None:
        self.cfg, self.parameters = cfg, tuple(parameters)
        self.signatures, self.multiple, self.search_in = signatures, multiple, tuple(search_in)

    @classmethod
    def from_config(cls, cfg: Config, target: Target, search_in: Sequence[Path] = ()) -> Space:
        """The space of ``[search.space]``.

        Args:
            cfg: the whole file.
            target: what the networks are for.
            search_in: folders to look in for a ``module:callable``.

        Raises:
            InputError: there is no space, a model is not there, or a parameter applies to none.
        """
        from tvmkd.search import definition

        parameters, signatures = definition.read(cfg, target.channel_multiple, search_in)
        return cls(cfg, parameters, signatures, target.channel_multiple, search_in)

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

    def draw(self, rng: np.random.Generator) -> Structure:
        """A random structure that the schema accepts.

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
        """All structures that the schema accepts.

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
                    raise InputError(f"{structures.text(structure)}: {each.name} is missing")
                try:
                    found[each.name] = each.snap(structure[each.name])
                except ValueError as error:
                    raise InputError(f"{structures.text(structure)}: {error}") from None
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

    def distributions(self, structure: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The distributions of a structure's parameters, for ``optuna.create_trial``."""
        return {each.name: each.distribution for each in self.parameters if each.name in structure}

    # Networks.

    def apply(self, cfg: Config, structure: Mapping[str, Any]) -> Config:
        """The config of one network: a validated copy of the file, without ``[search]``.

        Raises:
            InputError: the schema refuses the values together.
        """
        own = self.normalise(structure)
        return structures.configure(cfg, self._by_path(own), self.signatures, structures.text(own))

    def problem(self, structure: Mapping[str, Any]) -> str | None:
        """Why the schema refuses a structure; None: it accepts it."""
        try:
            self.apply(self.cfg, structure)
        except InputError as error:
            return str(error)
        return None

    def shape(self, cfg: Config, structure: Mapping[str, Any], task: Task) -> tuple[int, ...]:
        """The shape of the network's input, batch first."""
        return structures.input_shape(self.apply(cfg, structure), task)

    def build(
        self, cfg: Config, structure: Mapping[str, Any], task: Task, seed: int = 0
    ) -> nn.Module:
        """The network, not trained, as `structure.build`; in evaluation mode.

        Args:
            cfg: the file.
            structure: which.
            task: what is learnt; it may be that of another resolution.
            seed: of the weights.

        Raises:
            InputError: it cannot be built; names the structure.
        """
        try:
            applied = self.apply(cfg, structure)
            return structures.build(applied, task, self.multiple, self.search_in, seed)
        except TvmkdError as error:
            raise structures.named(structure, error) from error

    def key(self, structure: Mapping[str, Any]) -> str:
        """A hash that structures share which build and train the same network.

        For example those of widths that round to the same channels. It stays the same over
        processes.
        """
        own = self.normalise(structure)
        values = self._by_path(own)
        spec = str(values.pop("student.model", self.cfg.student.model))
        try:
            applied = self.apply(self.cfg, own)
            args = applied.student.args
            size = applied.data.image_size
        except InputError:
            args, size = dict(values), 0
        others = {
            path: text_of(value) for path, value in values.items() if not path.startswith(ARGS)
        }
        network = structures.fingerprint(spec, args, self.multiple, size)
        found = json.dumps([spec, network, others], sort_keys=True)
        return hashlib.sha256(found.encode()).hexdigest()[:16]

    def _by_path(self, structure: Mapping[str, Any]) -> dict[str, Any]:
        """The values by path; those of stages as lists."""
        found: dict[str, Any] = {}
        for each in self.parameters:
            if each.name not in structure:
                continue
            if each.index is None:
                found[each.path] = structure[each.name]
            else:
                found.setdefault(each.path, []).append(structure[each.name])
            if each.values.multiple is not None:
                found[f"{ARGS}multiple"] = each.values.multiple
        return found

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
        raise InputError(f"the schema refuses {TRIES} networks of the space in a row: {problem}")

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
