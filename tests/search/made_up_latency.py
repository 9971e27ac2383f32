"""A latency predictor without a compiler: the time of a layer follows from its shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tvmkd.search.latency.prediction import Kernel, KernelTime, Measured, Prediction


class MadeUpLatency:
    """Implements `Latency`: nanoseconds for each multiply-accumulate, by the kind of kernel.

    Args:
        dense: of convolutions and matrix products.
        depthwise: of depthwise convolutions.
        step: channel counts cost as much as the next multiple of it.
    """

    unit = "s"

    def __init__(self, dense: float = 1.0, depthwise: float = 1.0, step: int = 1) -> None:
        self.cost = {"dense": dense, "depthwise": depthwise}
        self.step = step
        self.asked = 0

    def kernels(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> list[Kernel]:
        assert isinstance(model, nn.Module)
        assert shape is not None
        found: list[Kernel] = []

        def note(layer: Any, _inputs: Any, output: Tensor) -> None:
            if isinstance(layer, nn.Linear):
                positions = output.numel() // layer.out_features
                macs = self._up(layer.in_features) * self._up(layer.out_features) * positions
            else:
                macs = output.shape[-1] * output.shape[-2] * math.prod(layer.kernel_size)
                macs *= self._up(layer.out_channels)
                macs *= 1 if layer.groups > 1 else self._up(layer.in_channels)
            kind = "depthwise" if getattr(layer, "groups", 1) > 1 else "dense"
            found.append(Kernel(f"{kind} {macs}", kind, kind, 1, 2.0 * macs))

        layers = (each for each in model.modules() if isinstance(each, (nn.Conv2d, nn.Linear)))
        hooks = [layer.register_forward_hook(note) for layer in layers]
        with torch.no_grad():
            model(torch.zeros(tuple(shape)))
        for hook in hooks:
            hook.remove()
        return found

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        times = [
            KernelTime(kernel, kernel.flop / 2e9 * self.cost[kernel.kind], "measured")
            for kernel in kernels
        ]
        seconds = sum(each.seconds for each in times)
        return Prediction(seconds, seconds, seconds, times)

    def predict_model(
        self, model: nn.Module | Path, shape: Sequence[int] | None = None
    ) -> Prediction:
        self.asked += 1
        return self.predict(self.kernels(model, shape))

    def measure(self, onnx: Path) -> Measured:
        raise NotImplementedError(onnx)

    def describe(self) -> dict[str, Any]:
        return {"cost": self.cost, "step": self.step}

    def _up(self, channels: int) -> int:
        return math.ceil(channels / self.step) * self.step
