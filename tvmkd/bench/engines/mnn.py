"""MNN on the CPU: the ONNX file is converted in a temporary folder.

It computes in FP32 (``"precision": "high"``). The converter is called beneath MNN's console script
``mnnconvert``, which would install a package and report the conversion to its vendor.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tvmkd.bench.engines.base import Device, Engine, Inputs
from tvmkd.bench.engines.conversion import check_types, convert, native, output_shapes, shaped

CONVERT = "import sys, MNN, _tools; _tools.mnnconvert(sys.argv)"
MODEL = "model.mnn"
KINDS: Mapping[str, str] = {"float32": "float", "int32": "int", "int64": "int", "uint8": "uint8"}
"""MNN's type of an input; it computes with int32 where ONNX has int64."""


class MnnEngine(Engine):
    """``Module.onForward`` on inputs that are written before and outputs that are copied after."""

    device: ClassVar[Device | None] = "CPU"
    distribution = "mnn"
    bytes: int

    def prepare(self, example: Inputs) -> None:
        """Converts and loads the model for the shapes of ``example``."""
        path = self.path().absolute()
        self.require()
        check_types(path, example, KINDS, "MNN")
        self.shapes = output_shapes(path, example)
        with tempfile.TemporaryDirectory(prefix="tvmkd-mnn-") as folder:
            files = ["--modelFile", str(path), "--MNNModel", MODEL, "--bizCode", "tvmkd"]
            command = [sys.executable, "-c", CONVERT, "-f", "ONNX", *files]
            self.bytes = convert(command, Path(folder), [MODEL], path)
            self._load(Path(folder) / MODEL, example)

    def _load(self, path: Path, example: Inputs) -> None:
        from MNN import expr, nn

        settings = {"backend": "CPU", "numThread": self.threads, "precision": "high"}
        self.manager = nn.create_runtime_manager((settings,))
        self.module = nn.load_module_from_file(
            str(path),
            list(example),
            list(self.shapes),
            runtime_manager=self.manager,
            shape_mutable=False,
        )
        self.inputs = [
            expr.placeholder(list(array.shape), expr.NCHW, getattr(expr, KINDS[str(array.dtype)]))
            for array in example.values()
        ]

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Writes the inputs, runs the module, copies the outputs in ONNX's layout."""
        from MNN import expr

        arrays = native(inputs.values())
        places, run = self.inputs, self.module.onForward
        convert, layout, shapes = expr.convert, expr.NCHW, list(self.shapes.values())

        def call() -> list[np.ndarray]:
            for place, array in zip(places, arrays, strict=True):
                place.write(array)
            outputs = [np.array(convert(each, layout).read()) for each in run(places)]
            return shaped(outputs, shapes)

        return call

    def facts(self) -> dict[str, Any]:
        """Version and settings."""
        return {
            "version": metadata.version("mnn"),
            "num_thread": self.threads,
            "precision": "high",
        }

    def size_bytes(self) -> int | None:
        """Size of the converted model in bytes."""
        return self.bytes
