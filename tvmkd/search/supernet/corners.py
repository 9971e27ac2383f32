"""The largest and the smallest network of a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.models.macs import macs, parameters

if TYPE_CHECKING:
    from tvmkd.search.parameters import Parameter
    from tvmkd.search.supernet.blueprints import Blueprints

SHARED = ("student.args.", "data.image_size")
"""Beginnings of the paths whose values networks with shared weights may differ in."""

TRIED = 17
"""Values of a range that are tried where the network of one of its ends fails."""


@dataclass(frozen=True)
class Corners:
    """The ends of a space.

    Attributes:
        largest, smallest: structures; by each parameter the value with most and least weights, of
            equal ones that with most and least multiply-accumulates.
        deepening: names of the parameters that change which blocks there are.
    """

    largest: Mapping[str, Any]
    smallest: Mapping[str, Any]
    deepening: frozenset[str]

    def deepened(self, structure: Mapping[str, Any]) -> dict[str, Any]:
        """The largest network with the blocks of another."""
        return {
            name: structure[name] if name in self.deepening else value
            for name, value in self.largest.items()
        }


def find(blueprints: Blueprints) -> Corners:
    """Finds them by building a network for each end of each parameter.

    Raises:
        InputError: networks that differ in one of the parameters share no weights, or none can be
            built.
    """
    space = blueprints.space
    for parameter in space.parameters:
        if not parameter.path.startswith(SHARED):
            raise InputError(
                f'[search.space] {parameter.name}: method = "supernet" shares weights, and '
                f"networks that differ in {parameter.path} have none in common; give "
                'method = "study", or take it out of the space'
            )
    ends = {parameter.name: _ends(parameter) for parameter in space.parameters}
    largest = {name: values[-1] for name, values in ends.items()}
    smallest = dict(largest)
    deepening = set()
    for parameter in space.parameters:
        name = parameter.name
        built = _built(blueprints, largest, parameter)
        ranked = [value for _, value in _ranked(blueprints, largest, name, built)]
        largest[name], smallest[name] = ranked[-1], ranked[0]
        if len({frozenset(dict(network.named_parameters())) for network, _ in built}) > 1:
            deepening.add(name)
    return Corners(largest, smallest, frozenset(deepening))


def _ends(parameter: Parameter) -> list[Any]:
    """The values that can be the largest or the smallest one, the likely largest last."""
    values = list(parameter.values.samples())
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return sorted({min(values), max(values)})
    return values


def _all(parameter: Parameter) -> list[Any]:
    """The values of a list, and some of a range from one end to the other."""
    if parameter.values.choices is not None:
        return list(parameter.values.choices)
    if parameter.listed is None:
        low, high = parameter.values.samples()
        return [parameter.snap(value) for value in np.linspace(low, high, TRIED)]
    last = len(parameter.listed) - 1
    places = np.linspace(0, last, min(TRIED, last + 1)).round().astype(int)
    return [parameter.listed[place] for place in places]


def _built(
    blueprints: Blueprints, others: Mapping[str, Any], parameter: Parameter
) -> list[tuple[nn.Module, Any]]:
    """A network for each end of a parameter; values whose network fails are no ends.

    Raises:
        InputError: all of them fail.
    """
    found: list[tuple[nn.Module, Any]] = []
    failed: TvmkdError | None = None
    for values in (_ends(parameter), _all(parameter)):
        failed = None
        found = []
        for value in values:
            try:
                found.append((blueprints.build({**others, parameter.name: value}), value))
            except TvmkdError as error:
                failed = error
        if failed is None:
            break
    if not found and failed is not None:
        raise failed
    return found


def _ranked(
    blueprints: Blueprints,
    others: Mapping[str, Any],
    name: str,
    built: Sequence[tuple[nn.Module, Any]],
) -> list[tuple[nn.Module, Any]]:
    """The networks of a parameter's values, from the smallest to the largest."""
    by_weights = sorted(built, key=lambda pair: parameters(pair[0]))
    if parameters(by_weights[0][0]) < parameters(by_weights[-1][0]):
        return by_weights
    return sorted(
        built,
        key=lambda pair: macs(pair[0], blueprints.task({**others, name: pair[1]}).input_shape),
    )
