"""The exponential moving average of a network's weights while it trains (EMA).

Polyak and Juditsky (1992); kept for the network that is used by Tarvainen and Valpola (2017).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

STATISTICS = ("running_mean", "running_var")
"""Buffers that are averaged, by the last part of their name: those of batch normalisation."""


class WeightAverage:
    """Follows a network's weights; the network gets the average to be scored, saved and used.

    Weights that are trained and the running statistics of normalisation layers are averaged. Other
    tensors are those of the network: frozen weights, counters, masks (whose infinities have no
    average).

    Args:
        network: on its device; the average starts from its present weights.
        decay: share of the average that a step keeps, 0 to 1 (without 1), once it is warm.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._network = {
            **{name: weight for name, weight in network.named_parameters() if weight.requires_grad},
            **{
                name: buffer
                for name, buffer in network.named_buffers()
                if name.rpartition(".")[2] in STATISTICS
            },
        }
        self._other = {name: tensor.detach().clone() for name, tensor in self._network.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the network's weights. Nothing here waits for a GPU.

        Args:
            step: of the training, from 0: the first ones count more, see `decay`.
        """
        share = 1.0 - decay(step, self._decay)
        torch._foreach_lerp_(self._tensors(self._other), self._tensors(self._network), share)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Meanwhile the network has the averaged weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the network's weights and the average.

        The contents, not the tensors: parts of a supernet are views of its weights.
        """
        for name, mine in self._network.items():
            other = self._other[name]
            kept = mine.clone()
            mine.copy_(other)
            other.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """The tensors that the network has not at present: of a checkpoint, the trained weights."""
        return dict(self._other)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from a state that was taken while the network had the averaged weights.

        The network has them now, too; afterwards it has the trained ones.
        """
        for name, tensor in state.items():
            self._other[name].copy_(tensor)
        self.swap()

    def _tensors(self, named: dict[str, Tensor]) -> list[Tensor]:
        return list(named.values())


def decay(step: int, highest: float) -> float:
    """The decay of a step, from 0: min(highest, (1 + step) / (10 + step)).

    Without it the average of a short training would be that of its random start.
    """
    return min(highest, (1 + step) / (10 + step))
