"""DOT: SGD with a momentum for the labels and a larger one for the teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class DOT(torch.optim.Optimizer):
    """The Distillation-Oriented Trainer (Zhao et al., ICCV 2023).

    ``v_task = (momentum - delta) · v_task + g_task``, ``v_kd = (momentum + delta) · v_kd + g_kd``,
    ``weight = weight - lr · (v_task + v_kd)``. The teacher's gradients dominate, and a student then
    ends in a flatter minimum of the distillation loss. With ``delta`` 0 it is SGD with momentum.
    Weight decay belongs to the task, as in the authors' code.

    Attributes:
        taught: of each weight that has one, the part of its gradient that comes from the teacher;
            set before each step. ``weight.grad`` is the whole gradient.
        found_inf: as `torch.amp.GradScaler` tells a fused optimizer: where it is not 0, a step
            moves nothing.
    """

    taught: Mapping[nn.Parameter, Tensor]
    found_inf: Tensor | None = None

    def __init__(
        self, weights: Iterable[dict[str, Any]], lr: float, momentum: float, delta: float
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "delta": delta, "weight_decay": 0.0}
        super().__init__(weights, defaults)
        self.taught = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves each weight that has a gradient; ``closure`` is not called."""
        del closure
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)

    def _move(self, weight: nn.Parameter, group: Mapping[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["task"], state["taught"] = torch.zeros_like(weight), torch.zeros_like(weight)
        assert weight.grad is not None
        taught = self.taught.get(weight)
        taught = torch.zeros_like(weight) if taught is None else taught
        own = weight.grad - taught + group["weight_decay"] * weight
        task = (group["momentum"] - group["delta"]) * state["task"] + own
        other = (group["momentum"] + group["delta"]) * state["taught"] + taught
        moved = weight - group["lr"] * (task + other)
        for place, value in ((state["task"], task), (state["taught"], other), (weight, moved)):
            if self.found_inf is not None:
                value = torch.where(self.found_inf > 0, place, value)
            place.copy_(value)
