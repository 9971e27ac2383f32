"""ncnn on the CPU: pnnx converts the ONNX file in a temporary folder.

It computes in FP32: its options for FP16 and BF16, which are on by default, are off.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tvmkd.base.errors import InputError
from tvmkd.bench.engines.base import Device, Engine, Inputs
from tvmkd.bench.engines.conversion import check_types, convert, native, output_shapes, shaped

KINDS: Mapping[str, str] = {
    "float32": "f32",
    "float16": "f16",
    "int8": "i8",
    "uint8": "u8",
    "int32": "i32",
    "int64": "i64",
}
"""pnnx's suffix for an input's type."""

REDUCED = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "bf16_packed")
PARAM, BIN, SCRIPT = "model.ncnn.param", "model.ncnn.bin", "model_ncnn.py"


class NcnnEngine(Engine):
    """A new extractor for each call, as in the script that pnnx writes."""

    device: ClassVar[Device | None] = "CPU"
    distribution = "ncnn pnnx"
    bytes: int

    def prepare(self, example: Inputs) -> None:
        """Converts and loads the model for the shapes of ``example``."""
        path = self.path().absolute()
        self.require()
        check_types(path, example, KINDS, "pnnx")
        self.shapes = list(output_shapes(path, example).values())
        with tempfile.TemporaryDirectory(prefix="tvmkd-ncnn-") as name:
            folder = Path(name)
            # pnnx writes beside the file that it reads.
            (folder / "model.onnx").symlink_to(path)
            wanted = ",".join(
                f"[{','.join(map(str, array.shape))}]{KINDS[str(array.dtype)]}"
                for array in example.values()
            )
            command = [str(converter()), "model.onnx", f"inputshape={wanted}", "fp16=0"]
            self.bytes = convert(command, folder, [PARAM, BIN, SCRIPT], path)
            self.bytes -= (folder / SCRIPT).stat().st_size
            self.batch = batches((folder / SCRIPT).read_text(encoding="utf-8"))
            self._load(folder, path)

    def _load(self, folder: Path, path: Path) -> None:
        import ncnn

        self.net = ncnn.Net()
        options = self.net.opt
        options.num_threads = self.threads
        options.use_vulkan_compute = False
        for name in REDUCED:
            if hasattr(options, f"use_{name}"):
                setattr(options, f"use_{name}", False)
        missing = [
            kind
            for kind in layers((folder / PARAM).read_text(encoding="utf-8"))
            if ncnn.layer_to_index(kind) < 0
        ]
        if missing:
            raise InputError(
                f"{path}: ncnn has no layer for what pnnx made of it: {', '.join(missing)}"
            )
        if self.net.load_param(str(folder / PARAM)) or self.net.load_model(str(folder / BIN)):
            raise InputError(f"{path}: ncnn cannot load what pnnx made of it")

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Copies the inputs, runs an extractor, copies the outputs."""
        import ncnn

        axes, net, shapes = self.batch, self.net, self.shapes
        arrays = native(inputs.values())

        def call() -> list[np.ndarray]:
            with net.create_extractor() as extractor:
                for number, array in enumerate(arrays):
                    name = f"in{number}"
                    given = ncnn.Mat(array, batch_index=axes[name]).clone()
                    extractor.input(name, given)
                outputs = []
                for number in range(len(shapes)):
                    name = f"out{number}"
                    code, found = extractor.extract(name)
                    if code:
                        raise RuntimeError(f"ncnn cannot compute output {number} (code {code})")
                    outputs.append(np.array(found.numpy(batch_index=axes[name])))
            return shaped(outputs, shapes)

        return call

    def facts(self) -> dict[str, Any]:
        """Version and settings."""
        options = self.net.opt
        reduced = [name for name in REDUCED if getattr(options, f"use_{name}", False)]
        return {
            "version": metadata.version("ncnn"),
            "pnnx": metadata.version("pnnx"),
            "num_threads": options.num_threads,
            "reduced_precision": reduced,
        }

    def size_bytes(self) -> int | None:
        """Size of the converted model in bytes."""
        return self.bytes


def converter() -> Path:
    """The program inside the package pnnx, which is not imported: it would import torch."""
    found = importlib.util.find_spec("pnnx")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("pnnx")


def layers(param: str) -> list[str]:
    """The types of the layers in a ``.param`` file, each once.

    After two lines with a magic number and counts, each line describes one layer, its type first.
    """
    return list(dict.fromkeys(line.split()[0] for line in param.splitlines()[2:] if line.strip()))


def batches(script: str) -> dict[str, int]:
    """The axis of the batch for each input and output, from the script that pnnx writes.

    233 means that there is none. ncnn's arrays have no such axis, so that it has to be named.
    """
    tensors = re.findall(r"\b(in\d+|out\d+)\.numpy\((?:\), )?batch_index=(\d+)\)", script)
    return {name: int(axis) for name, axis in tensors}
