"""The engines that a comparison can run, by name; each class says what it is in class attributes.

Names of engines are listed nowhere else. `tvmkd.toml`, ``--engine`` and `EngineSpec` all accept a
name from here, or ``package.module:Class`` of an engine of one's own, and all give the same message
for anything else. Listing names imports no engine.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from tvmkd.base import stack_registry
from tvmkd.base.errors import UsageError
from tvmkd.base.text import listing, suggest

TVM, UNTUNED = "tvm", "tvm:untuned"
"""The artifact of a run, and the one that was built without records to compare it with."""

TVM_STANDALONE = "tvm:standalone"
"""An artifact that needs no TVM."""

_TVM = "tvmkd.bench.engines.tvm_artifact:TvmEngine"

ENGINES: dict[str, str] = {
    "torch": "tvmkd.bench.engines.torch_eager:TorchEngine",
    "torch:cuda": "tvmkd.bench.engines.torch_cuda:TorchCudaEngine",
    "torch.compile": "tvmkd.bench.engines.torch_compile:TorchCompileEngine",
    "torch.compile:cuda": "tvmkd.bench.engines.torch_compile:TorchCompileCudaEngine",
    "onnxruntime": "tvmkd.bench.engines.ort:OrtEngine",
    "onnxruntime:cuda": "tvmkd.bench.engines.ort:OrtCudaEngine",
    "onnxruntime:tensorrt": "tvmkd.bench.engines.ort:OrtTensorRTEngine",
    "openvino": "tvmkd.bench.engines.openvino:OpenVinoEngine",
    "mnn": "tvmkd.bench.engines.mnn:MnnEngine",
    "ncnn": "tvmkd.bench.engines.ncnn:NcnnEngine",
    "litert": "tvmkd.bench.engines.litert:LiteRtEngine",
    "tensorrt": "tvmkd.bench.engines.tensorrt:TensorRTEngine",
    "tensorrt-rtx": "tvmkd.bench.engines.tensorrt:TensorRTRtxEngine",
    "tensorrt@board": "tvmkd.bench.engines.tensorrt_board:TensorRTBoardEngine",
    UNTUNED: _TVM,
    TVM: _TVM,
    # An artifact of each stack, and one with regions for each engine that has them.
    **{f"tvm:{stack}": _TVM for stack in stack_registry.names()},
    **{f"tvm+{engine}": _TVM for engine in stack_registry.byoc_engines()},
    TVM_STANDALONE: "tvmkd.bench.engines.tvm_artifact:StandaloneEngine",
    "tvm@board": "tvmkd.bench.engines.tvm_board:BoardEngine",
    # Above the room of the other engines: it compiles the program that runs the library.
    f"{TVM_STANDALONE}@board": "tvmkd.deploy.standalone_board:StandaloneBoardEngine",
}
"""Name to ``module:Class``."""

RUN = ("torch", "torch.compile", "onnxruntime", UNTUNED, TVM)
"""The default of ``[compare] engines``: those that need no NVIDIA GPU."""


def check(name: str) -> str:
    """The ``module:Class`` of an engine; imports nothing.

    Raises:
        UsageError: it is neither a known name nor of the form ``package.module:Class``.
    """
    if name in ENGINES:
        return ENGINES[name]
    module, _, attribute = name.partition(":")
    if attribute.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        known = module in ENGINES or any(each.startswith(f"{module}:") for each in ENGINES)
        if not known:
            return name
    raise UsageError(
        f'no engine "{name}"{suggest(name, ENGINES)} (known: {listing(ENGINES)}, or '
        "package.module:Class)"
    )


def load(name: str) -> Any:
    """The class of an engine.

    The module of an engine of one's own is looked for in the current folder first. Engines import
    their libraries when they are prepared, so that this is quick.

    Raises:
        UsageError: there is no such engine, or its module cannot be imported.
    """
    place = check(name)
    module, _, attribute = place.partition(":")
    here = str(Path.cwd())
    if name not in ENGINES and here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f'engine "{name}": cannot be imported: {error}') from None
