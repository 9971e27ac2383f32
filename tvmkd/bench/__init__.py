"""Head-to-head comparison: engines in their own processes, interleaved timing, a verdict.

    from tvmkd.bench import CompareOptions, EngineSpec, compare
    result = compare([EngineSpec("onnxruntime", "onnxruntime", "m.onnx"),
                      EngineSpec("tvm", "tvm", "out/")], "m.onnx",
                     options=CompareOptions(threads=2, seconds=5))
    print(result.verdict.sentence)

The names below load their modules on first use: an engine's process imports this package too, and
should load little more than the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvmkd.bench.measure import compare
    from tvmkd.bench.options import CompareOptions
    from tvmkd.bench.schema import Comparison
    from tvmkd.bench.spec import EngineSpec

__all__ = ["CompareOptions", "Comparison", "EngineSpec", "compare"]


def __getattr__(name: str) -> Any:
    if name == "compare":
        from tvmkd.bench.measure import compare

        return compare
    if name == "CompareOptions":
        from tvmkd.bench.options import CompareOptions

        return CompareOptions
    if name == "Comparison":
        from tvmkd.bench.schema import Comparison

        return Comparison
    if name == "EngineSpec":
        from tvmkd.bench.spec import EngineSpec

        return EngineSpec
    raise AttributeError(f"module 'tvmkd.bench' has no attribute {name!r}")
