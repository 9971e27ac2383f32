"""Engines, one file each. `create` finds one by its kind and imports only that file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tvmkd.base.errors import UsageError
from tvmkd.base.stack_registry import names

if TYPE_CHECKING:
    from tvmkd.bench.engines.base import Engine
    from tvmkd.bench.spec import EngineSpec

KINDS: dict[str, str] = {
    "onnxruntime": "tvmkd.bench.engines.ort:OrtEngine",
    "onnxruntime:cuda": "tvmkd.bench.engines.ort:OrtEngine",
    "onnxruntime:tensorrt": "tvmkd.bench.engines.ort:OrtEngine",
    "tensorrt": "tvmkd.bench.engines.tensorrt:TensorRTEngine",
    "tensorrt-rtx": "tvmkd.bench.engines.tensorrt:TensorRTEngine",
    "tensorrt@board": "tvmkd.bench.engines.tensorrt_board:TensorRTBoardEngine",
    "torch": "tvmkd.bench.engines.torch_eager:TorchEngine",
    "torch.compile": "tvmkd.bench.engines.torch_compile:TorchCompileEngine",
    "tvm": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
    "tvm@board": "tvmkd.bench.engines.tvm_board:BoardEngine",
    **{f"tvm:{name}": "tvmkd.bench.engines.tvm_artifact:TvmEngine" for name in names()},
    "tvm:untuned": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
    "tvm+onnxruntime": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
    "tvm+tensorrt": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
    "tvm+tensorrt-rtx": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
}

HANDED = ("tvm+onnxruntime", "tvm+tensorrt", "tvm+tensorrt-rtx")
"""The kinds that run an artifact whose regions another engine runs."""

ARTIFACTS = frozenset({"tvm", *(f"tvm:{name}" for name in names()), "tvm:untuned", *HANDED})
"""The kinds that run an artifact on this machine, in the interpreter of the stack that built it."""

ON_BOARD = "tvm@board"
"""The kind that runs on a board over TVM RPC."""

TENSORRT_ON_BOARD = "tensorrt@board"
"""The kind that runs on a board over ssh."""

BOARD_KINDS = frozenset({ON_BOARD, TENSORRT_ON_BOARD})
"""A comparison has engines of these kinds or none."""

GPU_KINDS = {
    "onnxruntime:cuda": "onnxruntime-gpu",
    "onnxruntime:tensorrt": "onnxruntime-gpu",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt-rtx",
}
"""Kinds that need an NVIDIA GPU in this machine, and the distribution that each comes with."""


def on_gpu() -> list[str]:
    """The kinds of `GPU_KINDS` that have a GPU and their package here."""
    return [kind for kind in GPU_KINDS if why_not(kind) is None]


def why_not(kind: str) -> str | None:
    """What one of `GPU_KINDS` lacks here and how to get it, as far as that shows from outside."""
    from importlib import metadata

    from tvmkd.tensorrt import device
    from tvmkd.tensorrt.api import PRODUCTS

    if device.find() is None:
        return f"{kind} needs an NVIDIA GPU and its driver (nvidia-smi shows them)"
    try:
        metadata.distribution(GPU_KINDS[kind])
    except metadata.PackageNotFoundError:
        how = PRODUCTS[kind][2] if kind in PRODUCTS else f"pip install {GPU_KINDS[kind]}"
        return f"{kind} needs {GPU_KINDS[kind]}: {how}"
    return None


def check_kind(kind: str) -> str:
    """The "module:Class" behind ``kind``.

    Raises:
        UsageError: no such kind.
    """
    if kind in KINDS:
        return KINDS[kind]
    module, _, name = kind.partition(":")
    if "." in module and name.isidentifier():
        return kind
    raise UsageError(
        f"no engine of kind {kind!r}: one of {', '.join(KINDS)}, or package.module:Class"
    )


def create(spec: EngineSpec, threads: int) -> Engine:
    """The engine for ``spec``, not yet prepared. Called in the engine's own process.

    Raises:
        UsageError: the kind is unknown or its module is not there.
    """
    module, _, name = check_kind(spec.kind).partition(":")
    try:
        kind: type[Engine] = getattr(importlib.import_module(module), name)
    except (AttributeError, ModuleNotFoundError) as error:
        raise UsageError(f"engine {spec.name}: cannot import {spec.kind!r}: {error}") from None
    return kind(spec, threads)
