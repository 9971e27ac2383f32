"""The latency term: λ times what a latency model says about the student."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tvmkd.base import console, user_code
from tvmkd.base.errors import InputError
from tvmkd.base.files import source_hash
from tvmkd.models.macs import macs

Estimate = Callable[[nn.Module], "Tensor | float"]
"""A latency model: from a network to a number (any unit; λ takes it to that of the loss)."""


class LatencyTerm:
    """``weight · estimate(model)``, as a loss where it can be one, else as a mark for choosing.

    An estimate that is a tensor through which a gradient reaches the model's weights (soft channel
    masks, a predictor fed with them) is added to the loss. A plain number, such as a count of
    multiply-accumulates, moves no weight: adding it would only look like doing something. It is
    left out of the loss, the person is told once, and it counts where one student is chosen.

    Args:
        estimate: the latency model.
        weight: λ, at least 0.
        identity: of an estimate that may move weights, for checkpoints.
    """

    def __init__(
        self, estimate: Estimate, weight: float, identity: Mapping[str, Any] | None = None
    ) -> None:
        self.weight = weight
        self.identity = identity or {}
        self._estimate = estimate
        self._trains: bool | None = None

    def trains(self, model: nn.Module) -> bool:
        """Whether a gradient flows from the term to the weights of ``model``; asked once."""
        if self._trains is None:
            self._trains = self.weight > 0 and _reaches(self._estimate(model), model)
            if self.weight > 0 and not self._trains:
                console.warn(
                    "the latency estimate does not depend on the weights: it adds no gradient "
                    "and is used only to choose among students"
                )
        return self._trains

    def loss(self, model: nn.Module) -> Tensor | None:
        """The term as a scalar with a gradient, or None where there is none."""
        if not self.trains(model):
            return None
        value = self._estimate(model)
        assert isinstance(value, Tensor)
        return self.weight * value

    def penalty(self, model: nn.Module) -> float:
        """The term as a number, to take from the accuracy of a student when one is chosen."""
        if self.weight == 0:
            return 0.0
        value = self._estimate(model)
        return self.weight * float(value.detach() if isinstance(value, Tensor) else value)


def identity(spec: str, weight: float, search_in: Sequence[Path] = ()) -> dict[str, Any]:
    """What identifies the term in checkpoints; empty where it moves no weight.

    Args:
        spec, search_in: as for `load`.
        weight: λ.
    """
    if not user_code.is_own(spec):
        return {}
    return {"latency_weight": weight, "latency": [spec, source_hash(spec, search_in)]}


def _reaches(value: Tensor | float, model: nn.Module) -> bool:
    if not isinstance(value, Tensor) or not value.requires_grad:
        return False
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(value, weights, allow_unused=True)
    return any(gradient is not None for gradient in gradients)


def mega_macs(shape: Sequence[int]) -> Estimate:
    """The simplest latency model: millions of multiply-accumulates for an input of ``shape``."""

    def estimate(model: nn.Module) -> float:
        return macs(model, shape) / 1e6

    return estimate


def load(spec: str, shape: Sequence[int], search_in: Sequence[Path] = ()) -> Estimate:
    """The latency model that ``[distill] latency`` names.

    Args:
        spec: a ``module:callable``; any other name stands for millions of MACs.
        shape: of the network's input, batch first.
        search_in: folders to look for the module in.

    Returns:
        the model. Calling it raises InputError if the user's code fails, or if what it returns is
        not one finite number.

    Raises:
        InputError: the module does not import, or has no such callable.
    """
    if not user_code.is_own(spec):
        return mega_macs(shape)
    what = f'latency "{spec}"'
    found = user_code.load(spec, what, search_in)

    def estimate(model: nn.Module) -> Tensor | float:
        with user_code.guard(what, theirs=True):
            value: object = found(model)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.reshape(())
            number = float(value.detach())
        elif isinstance(value, numbers.Real):
            number = value = float(value)
        else:
            raise InputError(f"{what}: must return one number or a tensor with one, not {value!r}")
        if not math.isfinite(number):
            raise InputError(f"{what}: returned {number}; a latency is finite")
        return value

    return estimate
