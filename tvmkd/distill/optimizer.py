"""One step of training: gradients averaged, looked at, clipped; then the weights move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tvmkd.distill.distributed import Team
from tvmkd.distill.dot import DOT
from tvmkd.distill.training import Settings

# Below this scale of the loss a gradient did not overflow: it is NaN whatever the scale.
SMALLEST_SCALE = 2.0**-10


class Optimizer:
    """AdamW, or SGD, with a warm-up and a cosine; a step that is not finite moves no weight.

    Batch normalisation and biases are not decayed.

    Args:
        weights: of the network and of its loss.
        settings: of the training.
        steps: of the whole training.
        team: gradients are averaged over it.
        clip: largest norm of a gradient; None: gradients are not clipped.
        divided: the loss can tell which part of it comes from a teacher.
    """

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        settings: Settings,
        steps: int,
        team: Team,
        clip: float | None = None,
        divided: bool = False,
    ) -> None:
        self.weights = [weight for weight in weights if weight.requires_grad]
        self._lr, self._steps, self._team, self._clip = settings.lr, steps, team, clip
        parts = groups(self.weights, settings.weight_decay)
        self._inner = _made(parts, settings, divided)
        self.divided = isinstance(self._inner, DOT)
        # On an old GPU half precision needs its loss scaled; bfloat16 does not.
        self.half = team.device.type == "cuda" and not torch.cuda.is_bf16_supported()
        self._scaler = torch.amp.GradScaler(team.device.type, enabled=self.half)

    def precision(self) -> torch.autocast:
        """Mixed precision where there is a GPU.

        Not on the CPU: oneDNN's bfloat16 convolutions return gradients that overflow.
        """
        cuda = self._team.device.type == "cuda"
        dtype = torch.float16 if self.half else torch.bfloat16
        return torch.autocast(self._team.device.type, dtype=dtype, enabled=cuda)

    def step(
        self, loss: Tensor, number: int, taught: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Moves the weights down the gradient of a loss.

        On a GPU nothing here waits for it: whether the numbers are finite is decided there, and
        the caller looks at them later.

        Args:
            loss: a scalar, the mean over this process's images.
            number: of this step, from 0.
            taught: the part of the loss that comes from the teacher, where it is `divided`.

        Returns:
            The loss of the whole team and the norm of its gradient. If either is not finite, no
            weight has moved.
        """
        rate = self._lr * schedule(number, self._steps)
        for group in self._inner.param_groups:
            group["lr"] = rate
        gradients_of_teacher = {} if taught is None else self._taught(taught)
        self._inner.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(loss))
        value = self._team.average_gradients(self.weights, loss)
        self._scaler.unscale_(self._inner)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self._clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.weights, self._clip, norm)
            for gradient in gradients_of_teacher.values():
                gradient.mul_((self._clip / (norm + 1e-6)).clamp(max=1.0))
        if isinstance(self._inner, DOT):
            self._inner.taught = gradients_of_teacher
        if self.half:
            # The scaler leaves out a step that overflows, and scales less after it.
            self._scaler.step(self._inner)
            self._scaler.update()
            stuck = self._scaler.get_scale() < SMALLEST_SCALE
            return value, torch.full_like(norm, math.nan if stuck else 0.0)
        if value.device.type == "cpu":
            if math.isfinite(value.item()) and math.isfinite(norm.item()):
                self._inner.step()
            return value, norm
        finite = torch.isfinite(value) & torch.isfinite(norm)
        # What a GradScaler tells a fused optimizer: skip this step, decided on the GPU.
        self._inner.found_inf = (~finite).float()  # type: ignore[attr-defined]
        self._inner.step()
        return value, norm

    def _taught(self, taught: Tensor) -> dict[nn.Parameter, Tensor]:
        """The gradients of a part of the loss, averaged over the team; the graph is kept."""
        self._inner.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(taught), retain_graph=True)
        self._team.average_gradients(self.weights, taught)
        scale = self._scaler.get_scale() if self.half else 1.0
        return {
            weight: weight.grad.detach().clone().div_(scale)
            for weight in self.weights
            if weight.grad is not None
        }

    def state_dict(self) -> dict[str, Any]:
        """The state of AdamW or SGD."""
        return self._inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from a state, of a fused optimizer or not."""
        parts = state["param_groups"]
        if not self.divided:
            parts = [{**group, "fused": True, "foreach": None} for group in parts]
        self._inner.load_state_dict({**state, "param_groups": parts})

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._inner.param_groups[0]["lr"])

    @property
    def scaler(self) -> torch.amp.GradScaler:
        """Its state is saved beside that of the optimizer."""
        return self._scaler


def _made(parts: list[dict[str, Any]], settings: Settings, divided: bool) -> torch.optim.Optimizer:
    """What the settings say; DOT needs a loss in two parts, and is SGD for another."""
    sgd, lr = settings.sgd, settings.lr
    if sgd is None:
        return torch.optim.AdamW(parts, lr=lr, fused=True)
    if sgd.delta is None or not divided:
        return torch.optim.SGD(parts, lr=lr, momentum=sgd.momentum, fused=True)
    return DOT(parts, lr, sgd.momentum, sgd.delta)


def groups(weights: Sequence[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Parameter groups: matrices and kernels decay, normalisation and biases do not."""
    return [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]


def schedule(step: int, steps: int) -> float:
    """The fraction of the learning rate: up over the first 5% of the steps, then a cosine down."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
