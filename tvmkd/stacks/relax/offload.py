"""Regions of a Relax module handed over to an engine, and taken back where it refuses them.

Where this TVM was built with TensorRT's code generator, that compiles the regions; upstream's wheel
was not, and there each goes to :mod:`tvmkd.byoc.region` as ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from tvmkd.base.errors import UsageError
from tvmkd.byoc import regions
from tvmkd.byoc.region import ENGINES, Maker, Refused, Region
from tvmkd.stacks.relax import tensorrt as relax_tensorrt
from tvmkd.stacks.relax import to_onnx
from tvmkd.stacks.relax.onnx_operators import Unsupported
from tvmkd.stacks.relax.quantized_regions import DEQUANTIZE
from tvmkd.stacks.relax.tensorrt import (
    CODEGEN,
    Said,
    bare,
    calls_of,
    coverage_of,
    partition,
    regions_of,
    taken_back,
)
from tvmkd.tensorrt.options import PRECISIONS


@dataclass(frozen=True)
class Offloaded:
    """A module whose regions are handed over.

    Attributes:
        mod: the regions as calls into modules of their own, which a library carries along.
        report: see `offload`.
        notes: a line for each region that was not taken after all.
    """

    mod: tvm.IRModule
    report: dict[str, Any]
    notes: list[str]


def maker_for(engine: str, target: Mapping[str, Any], precision: str | None = None) -> Maker | None:
    """What makes of regions what a library carries; None where TVM's own code generator does.

    Args:
        target: ``Target.to_dict()``.
        precision: what the engine computes FP32 in.

    Raises:
        UsageError, MissingError, InputError: see :class:`tvmkd.byoc.region.Maker`.
    """
    if relax_tensorrt.by_tvm(engine):
        if precision not in (None, "fp32"):
            raise UsageError(
                "this TVM has a code generator for TensorRT of its own, which computes in FP32; "
                f"its runtime reads TVM_TENSORRT_USE_FP16, not --byoc-precision {precision}"
            )
        return None
    return Maker(engine, target, precision=precision)


def offload(mod: tvm.IRModule, engine: str, maker: Maker | None) -> Offloaded:
    """Hands regions over to an engine; one that it refuses stays in TVM.

    Args:
        mod: weights as constants; stays as it is. See
            `tvmkd.stacks.relax.quantized_regions.simplified`.
        engine: of :data:`tvmkd.byoc.region.ENGINES`.
        maker: see `maker_for`.

    Returns:
        the module, and the report, which is JSON: `coverage`'s, and also ``engine``, ``codegen``
        (``tvmkd`` or ``tvm``), ``precision`` (the coarsest of the regions) and ``carried``:
        ``{"region", "operators", "form", "bytes", "precision"}`` of each region, ``form`` being
        ``plan``, ``onnx`` or, of TVM's own, ``graph``.
    """
    title, said = ENGINES[engine], Said()
    parts = partition(mod, engine, said)
    made: dict[str, Region] = {}
    notes, cut = [], False
    for name, function in regions_of(parts).items():
        if maker is None:
            break
        try:
            model, inputs, outputs = to_onnx.region(function)
            made[name] = maker.make(model.SerializeToString(), inputs, outputs)
        except (Unsupported, Refused) as error:
            calls = calls_of(function)
            for call in calls:
                said.add(bare(call.op.name), f"{title} refuses its region: {error}")
            notes.append(f"{title} refuses a region of {len(calls)} operators: {error}")
            parts = taken_back(parts, name)
            cut = cut or any(call.op.name == DEQUANTIZE for call in calls)
    if cut and made:
        # TVM computes quantised tensors together; pieces of them between regions it may not
        # compile, and would compute in floats.
        for name in made:
            parts = taken_back(parts, name)
        made.clear()
        notes.append(f"TVM compiles the whole model: a region that {title} refuses is quantised")
    if maker and made and maker.form == "onnx" and engine != "onnxruntime":
        notes.append(
            f"{title}'s engines are built where the library is first loaded, which takes a Python "
            "process with tvmkd"
        )
    asked = maker.precision if maker else "fp32"
    own = {region.precision for region in made.values()} - {asked}
    if own and asked != "fp32":
        notes.append(f"{asked} has no effect on regions that the file has in {', '.join(own)}")
    report = {
        **coverage_of(parts, said),
        "engine": engine,
        "codegen": "tvmkd" if maker else "tvm",
        "precision": max(
            (region.precision for region in made.values()), key=PRECISIONS.index, default="fp32"
        ),
        "carried": [
            {
                "region": name,
                "operators": len(calls_of(function)),
                **(
                    {
                        "form": made[name].form,
                        "bytes": len(made[name].blob),
                        "precision": made[name].precision,
                    }
                    if maker
                    else {"form": "graph", "bytes": None, "precision": "fp32"}
                ),
            }
            for name, function in regions_of(parts).items()
        ],
    }
    if not report["regions"]:
        return Offloaded(parts, report, notes)
    if maker:
        tvm.register_global_func(CODEGEN, _codegen(made), override=True)
    done = relax.transform.RunCodegen()(parts)
    if maker:
        # The constants are in the regions, and modules that ask for none do not know what to do
        # with them.
        done = done.without_attr("const_name_to_constant")
    return Offloaded(done, report, notes)


def _codegen(made: Mapping[str, Region]) -> Any:
    """What ``RunCodegen`` calls: a module of each region, by its symbol."""

    def generate(functions: Any, _options: Any, _constants: Any) -> list[Any]:
        symbols = [str(function.attrs["global_symbol"]) for function in functions]
        return [regions.make(symbol, made[symbol].to_bytes()) for symbol in symbols]

    return generate
