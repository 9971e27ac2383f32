"""Latency predictors made up for tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tvmkd.search.latency.prediction import Kernel, Measured, Prediction


class Staircase:
    """A time by output channels: each convolution costs as much as whole tiles of ``tile``.

    Args:
        tile: channels.
        fixed: seconds of a call.
    """

    unit = "s"

    def __init__(self, tile: int = 16, fixed: float = 0.0) -> None:
        self.tile, self.fixed = tile, fixed
        self.asked: list[nn.Module | Path] = []

    def kernels(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> list[Kernel]:
        """One kernel for each convolution; of a file, one."""
        self.asked.append(model)
        counts = [7]
        if isinstance(model, nn.Module):
            assert shape is not None
            counts = [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]
        return [Kernel(str(each), "conv", "conv2d", 1, float(each)) for each in counts]

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        """Milliseconds, as many as there are tiles."""
        tiles = sum(math.ceil(each.flop / self.tile) for each in kernels)
        seconds = 1e-3 * tiles + self.fixed
        return Prediction(seconds, 0.9 * seconds, 1.1 * seconds, fixed=self.fixed)

    def predict_model(
        self, model: nn.Module | Path, shape: Sequence[int] | None = None
    ) -> Prediction:
        """`predict` of `kernels`."""
        return self.predict(self.kernels(model, shape))

    def measure(self, onnx: Path) -> Measured:
        """Not needed."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Nothing."""
        return {}
