"""A latency table for the toy spaces of the study's tests: tuned kernels are faster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stand_ins import Sums
from torch import nn

from tvmkd.base.errors import MissingError
from tvmkd.search.joint.protocols import Progress, Spent
from tvmkd.search.latency.prediction import Kernel, KernelTime, Prediction

SECONDS = 0.5  # of a board, for each trial


class TunableSums(Sums):
    """One kernel a network: a microsecond for each parameter, over the root of the trials."""

    def __init__(self) -> None:
        super().__init__()
        self.trials: dict[str, int] = {}
        self.flop: dict[str, float] = {}

    def kernels(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> list[Kernel]:
        (kernel,) = super().kernels(model, shape)
        key = f"{kernel.flop:g}"
        self.flop[key] = kernel.flop
        return [Kernel(key, key, "conv2d", 1, kernel.flop)]

    def _seconds(self, key: str) -> float:
        return self.flop[key] * 1e-6 / max(1, self.trials.get(key, 1)) ** 0.5

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        (kernel,) = kernels
        seconds = self._seconds(kernel.key)
        known = kernel.key in self.trials
        time = KernelTime(
            kernel, seconds, "measured" if known else "interpolated", 0.0 if known else 0.3
        )
        return Prediction(seconds, 0.99 * seconds, 1.01 * seconds, [time])

    def progress(self, key: str) -> Progress | None:
        if key not in self.trials:
            return None
        return Progress(self.trials[key], self.flop[key] * 1e-6, self._seconds(key))

    def tune(self, weights: Mapping[str, float], trials: int) -> Spent:
        if os.environ.get("TUNING_AWAY"):
            raise MissingError("no board answers under the key toy")
        for index in range(trials):
            key = list(weights)[index % len(weights)]
            self.trials[key] = self.trials.get(key, 0) + 1
        return Spent(SECONDS * trials, trials)


def tunable(cfg: Any, target: Any, folder: Path) -> TunableSums:
    """A `TunableSums`; names match `Plan.latency`."""
    del cfg, target, folder
    return TunableSums()
