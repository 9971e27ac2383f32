"""LiteRT (TensorFlow Lite) on the CPU, with XNNPACK and in FP32.

It runs ``FILE.tflite`` beside ``FILE.onnx`` where that is there. Otherwise the command ``onnx2tf``
converts the ONNX file in a temporary folder; its requirements conflict with those of tvmkd, so that
it has to be installed in an environment of its own.

Converted networks take images with channels last. That change of layout is not timed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tvmkd.base.errors import InputError, MissingError
from tvmkd.bench.engines.base import Device, Engine, Inputs
from tvmkd.bench.engines.conversion import convert, output_shapes, shaped

CONVERTER = "onnx2tf"
HOW = f"pipx install {CONVERTER}, or put the converted file beside the ONNX file"


class LiteRtEngine(Engine):
    """``Interpreter.invoke``, with its inputs and outputs copied."""

    device: ClassVar[Device | None] = "CPU"
    distribution = "ai-edge-litert"
    bytes: int

    @classmethod
    def lacks(cls, name: str) -> str | None:
        """As `Engine.lacks`; the converter is needed too."""
        lack = super().lacks(name)
        if lack is None and shutil.which(CONVERTER) is None:
            return f"{name} needs {CONVERTER}: {HOW}"
        return lack

    def prepare(self, example: Inputs) -> None:
        """Converts the file if necessary, and loads it."""
        path = self.path().absolute()
        self.require()
        self.wanted = output_shapes(path, example)
        with tempfile.TemporaryDirectory(prefix="tvmkd-litert-") as folder:
            self._load(self._converted(path, Path(folder), example), example)

    def _converted(self, path: Path, folder: Path, example: Inputs) -> Path:
        """The file to run."""
        beside = path.with_suffix(".tflite")
        if beside.exists():
            return beside
        program = shutil.which(CONVERTER)
        if program is None:
            raise MissingError(f"{self.spec.name} needs {CONVERTER}: {HOW}")
        made = Path("out") / f"{path.stem}_float32.tflite"
        command = [program, "--input_onnx_file_path", str(path), "--output_folder_path", "out"]
        sizes = [f"{name}:{','.join(map(str, each.shape))}" for name, each in example.items()]
        command += ["--non_verbose", "--overwrite_input_shape", *sizes]  # of free dimensions only
        convert(command, folder, [str(made)], path)
        return folder / made

    def _load(self, path: Path, example: Inputs) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.bytes = path.stat().st_size
        try:
            self.interpreter = Interpreter(model_path=str(path), num_threads=self.threads)
            self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path}: LiteRT cannot load it: {error}") from None
        found = self.interpreter.get_input_details()
        if len(found) != len(example):
            raise InputError(f"{path}: has {len(found)} inputs, the ONNX file {len(example)}")
        self.inputs = in_order(found, list(example))
        self.outputs = in_order(self.interpreter.get_output_details(), list(self.wanted))

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Copies the inputs, runs, copies the outputs."""
        run = self.interpreter
        arrays = [
            as_stored(array, each["shape"]).astype(each["dtype"], copy=False)
            for array, each in zip(inputs.values(), self.inputs, strict=True)
        ]
        given = [each["index"] for each in self.inputs]
        found = [each["index"] for each in self.outputs]

        def call() -> list[np.ndarray]:
            for index, array in zip(given, arrays, strict=True):
                run.set_tensor(index, array)
            run.invoke()
            return [run.get_tensor(index) for index in found]

        return call

    def infer(self, inputs: Inputs) -> list[np.ndarray]:
        """The outputs in ONNX's layout."""
        shapes = list(self.wanted.values())
        outputs = self.bind(inputs)()
        return shaped(
            [as_onnx(each, shape) for each, shape in zip(outputs, shapes, strict=True)], shapes
        )

    def facts(self) -> dict[str, Any]:
        """Version and threads."""
        return {"version": metadata.version("ai-edge-litert"), "num_threads": self.threads}

    def size_bytes(self) -> int | None:
        """Size of the converted model in bytes."""
        return self.bytes


def in_order(details: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Tensors in the order of the ONNX file's names; as they are if the names were not kept.

    Converters write ``serving_default_NAME:0``.
    """
    by_name = {
        each["name"].removeprefix("serving_default_").partition(":")[0]: each for each in details
    }
    kept = len(by_name) == len(details) and all(name in by_name for name in names)
    return [by_name[name] for name in names] if kept else list(details)


def as_stored(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """An input with its channels last if the converted network has that shape."""
    if array.ndim > 2:
        last = np.moveaxis(array, 1, -1)
        if last.shape == tuple(shape):
            return np.ascontiguousarray(last)
    return array


def as_onnx(output: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """An output with its channels second again if only then it has the ONNX file's shape."""
    if output.ndim > 2 and output.shape != shape:
        second = np.moveaxis(output, -1, 1)
        if second.shape == shape:
            return second
    return output
