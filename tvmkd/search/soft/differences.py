"""The latency of a network as a sum of differences, so that its expectation has a gradient.

A network's time is a sum of kernels, and the time of a kernel depends on the channels that come
into its layer and on those that come out: on two groups, sometimes on one. So

    latency = whole + sum of d(option) + sum of d(option, option of a neighbour)

where ``whole`` is the time of the network with all of its channels and blocks, and a difference is
what one option, or two options of neighbours together, change. All of it comes from a latency
predictor that is asked about networks that are really cut. With probabilities in the place of
options the sum is the expected latency (FBNet, Wu et al., 2019; ProxylessNAS, Cai et al., 2019),
exact where kernels depend on neighbours alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tvmkd.search.soft.choices import Choice, Structure, home, neighbours

Predict = Callable[[Structure], float]
"""From a structure to a latency, in any unit."""


@dataclass(frozen=True)
class Differences:
    """The latency of all structures.

    Attributes:
        choices: the choices, with the options that the differences are of.
        whole: latency of the whole network.
        single: for each choice the difference that each of its options makes.
        pairs: for the neighbours ``(first, second)``, by number: the differences that both options
            make beyond those of each, ``[first's options][second's options]``.
    """

    choices: tuple[Choice, ...]
    whole: float
    single: tuple[tuple[float, ...], ...]
    pairs: dict[tuple[int, int], tuple[tuple[float, ...], ...]]

    def of(self, structure: Structure) -> float:
        """The latency of a structure, in the unit of ``whole``."""
        most = max(len(choice.options) for choice in self.choices)
        certain = torch.zeros(len(self.choices), most, dtype=torch.float64)
        for row, choice in enumerate(self.choices):
            option = structure.get(choice.name, choice.options[0])
            certain[row, choice.options.index(option)] = 1.0
        return float(Expected(self)(certain)) * self.whole

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "choices": [choice.to_dict() for choice in self.choices],
            "whole": self.whole,
            "single": [list(row) for row in self.single],
            "pairs": [[*pair, [list(row) for row in rows]] for pair, rows in self.pairs.items()],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], choices: Sequence[Choice]) -> Differences:
        """The inverse of `to_dict`, for the choices that it was made of."""
        return cls(
            tuple(choices),
            float(data["whole"]),
            tuple(tuple(row) for row in data["single"]),
            {(a, b): tuple(tuple(row) for row in rows) for a, b, rows in data["pairs"]},
        )


def measure(
    predict: Predict,
    choices: Sequence[Choice],
    whole: float,
    tell: Callable[[], None] = lambda: None,
    *,
    grid: bool = False,
) -> Differences:
    """Asks for the latency of each option alone, and of neighbours together.

    Where the time of a layer is in proportion to its inputs times its outputs, what two options
    change together is in proportion to what each of them changes: then one question about two
    neighbours says it for all of their options.

    Args:
        predict: asked about structures.
        choices: the first option of each is all of it, the last one the least.
        whole: the latency of the whole network.
        tell: called after each question.
        grid: ask about each pair of options of neighbours; else about the least of both, and take
            the others in proportion.
    """

    def asked(*options: tuple[int, int]) -> float:
        structure = {choices[n].name: choices[n].options[place] for n, place in options}
        value = predict(structure)
        tell()
        return value

    single = tuple(
        (0.0, *(asked((number, place)) - whole for place in range(1, len(choice.options))))
        for number, choice in enumerate(choices)
    )

    def beyond(first: int, a: int, second: int, b: int) -> float:
        """What two options change together beyond what each changes."""
        return asked((first, a), (second, b)) - whole - single[first][a] - single[second][b]

    pairs = {}
    for first, second in neighbours(choices):
        ones, others = (range(len(choices[number].options)) for number in (first, second))
        if grid:
            rows = [[beyond(first, a, second, b) if a and b else 0.0 for b in others] for a in ones]
        else:
            corner = beyond(first, ones[-1], second, others[-1])
            shares = [
                [value / row[-1] if row[-1] else 0.0 for value in row]
                for row in (single[first], single[second])
            ]
            rows = [[corner * one * other for other in shares[1]] for one in shares[0]]
        pairs[first, second] = tuple(tuple(row) for row in rows)
    return Differences(tuple(choices), whole, single, pairs)


def questions(choices: Sequence[Choice], *, grid: bool = False) -> int:
    """How many structures `measure` asks about."""
    more = [len(choice.options) - 1 for choice in choices]
    return sum(more) + sum(more[a] * more[b] if grid else 1 for a, b in neighbours(choices))


class Expected(torch.nn.Module):
    """The expected latency, as a share of the whole network's.

    What is in a block that goes costs nothing: differences of its groups count as often as the
    block stays.
    """

    single: Tensor
    pairs: Tensor
    inner_pairs: Tensor
    block: Tensor

    def __init__(self, differences: Differences) -> None:
        super().__init__()
        choices = differences.choices
        most = max(len(choice.options) for choice in choices)
        size = len(choices) * most
        single = torch.zeros(size, dtype=torch.float64)
        pairs = torch.zeros(2, size, size, dtype=torch.float64)
        homes = home(choices)
        for row, values in enumerate(differences.single):
            single[row * most : row * most + len(values)] = torch.tensor(values, dtype=single.dtype)
        for (first, second), table in differences.pairs.items():
            a, b = first, second
            both = torch.tensor(table, dtype=torch.float64)
            if homes[a] is None and homes[b] is not None:
                a, b, both = b, a, both.T
            part = pairs[int(homes[a] is not None)]
            rows, columns = both.shape
            part[a * most : a * most + rows, b * most : b * most + columns] = both
        # Where the probability of an option's block to stay stands; that of 1 is the last.
        block = [size if at is None else at * most for at in homes for _ in range(most)]
        for name, value in (
            ("single", single / differences.whole),
            ("pairs", pairs[0] / differences.whole),
            ("inner_pairs", pairs[1] / differences.whole),
            ("block", torch.tensor(block)),
        ):
            self.register_buffer(name, value, persistent=False)

    def forward(self, probabilities: Tensor) -> Tensor:
        """From the options' probabilities ``[choices, most]`` to a scalar: 1 is the whole."""
        flat = probabilities.flatten().to(self.single.dtype)
        staying = flat * torch.cat([flat, flat.new_ones(1)])[self.block]
        return (
            1.0
            + self.single @ staying
            + flat @ self.pairs @ flat
            + staying @ self.inner_pairs @ flat
        )
