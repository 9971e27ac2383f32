"""OpenVINO on the CPU: it reads the ONNX file itself.

It computes in FP32 (``INFERENCE_PRECISION_HINT``): by default it uses BF16 where the CPU has it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from tvmkd.base.errors import InputError
from tvmkd.bench.engines.base import Device, Engine, Inputs

if TYPE_CHECKING:
    import openvino


class OpenVinoEngine(Engine):
    """A compiled model with one stream, called with numpy arrays."""

    device: ClassVar[Device | None] = "CPU"
    distribution = "openvino"
    model: openvino.CompiledModel

    def prepare(self, example: Inputs) -> None:
        """Reads and compiles the model for the shapes of ``example``."""
        path = self.path()
        self.require()
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(path)
            model.reshape({name: list(array.shape) for name, array in example.items()})
            self.model = core.compile_model(model, "CPU", self.options())
        except RuntimeError as error:
            raise InputError(f"{path}: OpenVINO cannot compile it: {plain(error)}") from None

    def options(self) -> dict[str, Any]:
        """Properties of the compiled model."""
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": "f32",
            # The comparison pins the process to CPUs; otherwise OpenVINO chooses others.
            "ENABLE_CPU_PINNING": False,
        }

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """``compiled_model(inputs)``: reads the arrays in place, returns copies of the outputs."""
        return functools.partial(self.model, dict(inputs))

    def facts(self) -> dict[str, Any]:
        """Version and properties."""
        import openvino

        return {
            "version": openvino.__version__,
            **{name.lower(): str(self.model.get_property(name)) for name in self.options()},
        }


def plain(error: BaseException) -> str:
    """An error of OpenVINO without the places in its sources, in one short line."""
    lines = [line.strip() for line in str(error).splitlines()]
    noise = ("Exception from ", "Check '", "Summary:", "FrontEnd API failed")
    kept = [line for line in lines if line and not line.startswith(noise)]
    return " ".join(kept)[:200] or " ".join(lines)[:200] or type(error).__name__
