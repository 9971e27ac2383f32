"""Engines, one file each. `create` finds one by its kind and imports only that file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tvmkd.errors import UsageError

if TYPE_CHECKING:
    from tvmkd.bench.engines.base import Engine
    from tvmkd.bench.spec import EngineSpec

KINDS: dict[str, str] = {
    "onnxruntime": "tvmkd.bench.engines.ort:OrtEngine",
    "torch": "tvmkd.bench.engines.torch_eager:TorchEngine",
    "torch.compile": "tvmkd.bench.engines.torch_compile:TorchCompileEngine",
    "tvm": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
    "tvm@board": "tvmkd.bench.engines.tvm_board:BoardEngine",
    "tvm:relax": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
    "tvm:relay": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
    "tvm:untuned": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
    "tvm+onnxruntime": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
    "tvm+tensorrt": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
    "tvm+tensorrt-rtx": "tvmkd.bench.engines.tvm_artifact:TvmEngine",
}

HANDED = ("tvm+onnxruntime", "tvm+tensorrt", "tvm+tensorrt-rtx")
"""The kinds that run an artifact whose regions another engine runs."""

ARTIFACTS = frozenset({"tvm", "tvm:relax", "tvm:relay", "tvm:untuned", *HANDED})
"""The kinds that run an artifact on this machine, in the interpreter of the stack that built it."""

ON_BOARD = "tvm@board"
"""The kind that runs on a board over TVM RPC; a comparison has engines of this kind or none."""


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
