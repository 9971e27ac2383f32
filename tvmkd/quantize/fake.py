"""Simulates int8 weights and activations during training (quantisation-aware training, QAT).

Weights are rounded per output channel, symmetric about zero. A normalisation after a convolution
scales each channel by a constant, so rounding before and after folding it gives the same result.
The input of a convolution or dense layer is rounded per tensor, over a range that follows its
extremes by a moving average (Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tvmkd.base.errors import InputError
from tvmkd.base.text import suggest

KINDS = (nn.Conv1d, nn.Conv2d, nn.Linear)
LEVELS = 64  # -64 to 64: the seven bits that tvmkd.export.qdq writes
MOMENTUM = 0.05


class RoundedWeight(nn.Module):
    """A parametrization: rounds a weight ``[out, ...]`` per output channel, as the export does."""

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the rounded weight, of the same shape; the gradient ignores the rounding."""
        largest = weight.detach().flatten(1).abs().amax(1).clamp_min(1e-8)
        zeros = torch.zeros_like(largest, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            weight, largest / LEVELS, zeros, 0, -LEVELS, LEVELS
        )


class RoundedInput(nn.Module):
    """Rounds the input of a layer to 256 levels between moving averages of its extremes."""

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("low", "high", "seen"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        """Returns the rounded values, of the same shape; updates the range while training."""
        if self.training:
            with torch.no_grad():
                low, high = values.detach().aminmax()
                share = 1.0 if not bool(self.seen) else MOMENTUM
                self.low.lerp_(low.clamp_max(0.0).float(), share)
                self.high.lerp_(high.clamp_min(0.0).float(), share)
                self.seen.fill_(1.0)
        scale = ((self.high - self.low) / 255).clamp_min(1e-8)
        zero = (-self.low / scale).round().clamp(0, 255).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255)


def attach(network: nn.Module, keep_fp32: Collection[str] = ()) -> Callable[[], None]:
    """Adds simulated rounding to all layers; returns a function that removes it.

    Args:
        network: changed in place; it keeps its full-precision weights underneath.
        keep_fp32: paths of layers, or of modules that contain them, to leave in FP32.

    Raises:
        InputError: a path in ``keep_fp32`` contains no convolution or dense layer.
    """
    layers = {path: module for path, module in network.named_modules() if isinstance(module, KINDS)}
    for path in keep_fp32:
        if not any(_inside(layer, path) for layer in layers):
            hint = suggest(path, layers) or f"; there are {', '.join(list(layers)[:8])}, ..."
            raise InputError(f'keep_fp32: there is no layer "{path}"{hint}')
    chosen = [
        module
        for layer, module in layers.items()
        if not any(_inside(layer, path) for path in keep_fp32)
    ]
    hooks = []
    for module in chosen:
        parametrize.register_parametrization(module, "weight", RoundedWeight())
        module.rounded_input = RoundedInput()
        hooks.append(module.register_forward_pre_hook(_round_input))

    def detach() -> None:
        for hook in hooks:
            hook.remove()
        for module in chosen:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
            del module.rounded_input

    return detach


def _inside(layer: str, path: str) -> bool:
    return layer == path or layer.startswith(f"{path}.")


def _round_input(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.rounded_input(inputs[0]), *inputs[1:])
