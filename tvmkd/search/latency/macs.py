"""Multiply-accumulates in place of a latency, where nothing can be measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import stack_registry
from tvmkd.base.errors import MissingError
from tvmkd.search.latency.lowering import Lowering
from tvmkd.search.latency.prediction import Kernel, KernelTime, Measured, Prediction

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.targets import Target


class Macs:
    """Implements `tvmkd.search.latency.prediction.Latency`: a "second" is 1e9 MACs.

    They say little about time: a depthwise convolution takes several times as long for each as a
    dense one. See `tvmkd.search.latency.table.LatencyTable`.
    """

    unit = "MACs"

    def __init__(self, target: Target, stack: str = stack_registry.DEFAULT) -> None:
        self._target = target
        self._lowering = Lowering(target, stack)

    def __enter__(self) -> Macs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the compiler's process."""
        self._lowering.close()

    def kernels(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> list[Kernel]:
        """The kernels of a network; see the protocol."""
        return self._lowering.kernels(model, shape)

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        """Half of the floating point operations of these kernels, without an interval."""
        parts = [KernelTime(each, each.flop / 2 * 1e-9, "measured") for each in kernels]
        whole = sum(each.seconds * each.kernel.calls for each in parts)
        return Prediction(whole, whole, whole, parts)

    def predict_model(
        self, model: nn.Module | Path, shape: Sequence[int] | None = None
    ) -> Prediction:
        """`predict` of the `kernels` of a network."""
        return self.predict(self.kernels(model, shape))

    def measure(self, onnx: Path) -> Measured:
        """Not possible.

        Raises:
            MissingError: always.
        """
        raise MissingError(
            f"{onnx}: {self._target.name} does not run here, and no tracker of its boards is given"
        )

    def describe(self) -> dict[str, Any]:
        """That nothing was measured."""
        return {"target": self._target.name, "kernels_measured": 0}
