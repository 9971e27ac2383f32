"""The kernels of a space's structures, found in the way in which their latency is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import UsageError
from tvmkd.search.latency.prediction import Kernel, Latency, Measured, Prediction

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.search.study.bench import Bench


class _Noting:
    """A `Latency` that predicts nothing and keeps the kernels."""

    def __init__(self, latency: Latency) -> None:
        self.unit, self._latency = latency.unit, latency
        self.found: list[Kernel] = []

    def kernels(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> list[Kernel]:
        self.found = self._latency.kernels(model, shape)
        return self.found

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        del kernels
        return Prediction(0.0, 0.0, 0.0)

    def predict_model(
        self, model: nn.Module | Path, shape: Sequence[int] | None = None
    ) -> Prediction:
        return self.predict(self.kernels(model, shape))

    def measure(self, onnx: Path) -> Measured:
        return self._latency.measure(onnx)

    def describe(self) -> dict[str, Any]:
        return self._latency.describe()


def kernels(bench: Bench, structure: Mapping[str, Any]) -> list[Kernel]:
    """The kernels of the network that a structure becomes, pruned and in its precision.

    Raises:
        InputError: it cannot be built, exported or compiled.
        UsageError: it has exits, with which a network's time is that of several.
    """
    cfg = bench.space.apply(bench.plan.cfg, structure)
    if cfg.early_exit is not None:
        raise UsageError(
            '[search] method = "joint" tunes the kernels of whole networks: leave exits and '
            '[early_exit] out, or take method = "study"'
        )
    noting = _Noting(bench.latency)
    task = bench.networks.session(cfg).task
    bench.space.predict(bench.plan.cfg, structure, task, noting)
    return noting.found
