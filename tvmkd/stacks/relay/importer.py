"""Imports an ONNX file into Relay and converts it to the layout that AutoScheduler tunes best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import tvm
from tvm import relay

from tvmkd.base.errors import InputError
from tvmkd.export import weights
from tvmkd.export.check import ModelInfo, check
from tvmkd.export.legalise import legalise
from tvmkd.export.normalise import unrolled
from tvmkd.stacks.failed_node import failed_at, named
from tvmkd.stacks.relay.folding import fold_rearranged

NHWC = {
    "nn.conv2d": ["NHWC", "default"],
    "nn.conv2d_transpose": ["NHWC", "default"],
    "image.resize2d": ["NHWC"],
}


@dataclass
class Model:
    """An ONNX file in Relay.

    Attributes:
        info: facts about the file.
        mod: weights as constants, NCHW as in the file.
        inputs, outputs: ``{"name", "shape", "dtype"}`` in the order of ``main``; a size that
            depends on the data is a string.
    """

    info: ModelInfo
    mod: tvm.IRModule
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.info.sha256

    @property
    def needs_machine(self) -> bool:
        """Whether a virtual machine must run it: shapes depend on the data, or it has a branch."""
        found = [len(self.mod.get_global_vars()) > 1]  # loops become functions

        def look(expr: Any) -> None:
            typed = isinstance(expr, (relay.Call, relay.Var, relay.TupleGetItem))
            found.append(isinstance(expr, relay.If) or (typed and _is_dynamic(expr.checked_type)))

        relay.analysis.post_order_visit(self.mod["main"], look)
        return any(found)


def _is_dynamic(kind: Any) -> bool:
    return bool(relay.ty.is_dynamic(kind))


def supported() -> set[str]:
    """The ONNX operators that Relay imports."""
    from tvm.relay.frontend.onnx import _get_convert_map

    return {*_get_convert_map(17), "Constant", "If", "Loop", "Scan"}


def read(
    path: str | Path, dims: Mapping[str, int] | None = None, info: ModelInfo | None = None
) -> Model:
    """Reads an ONNX file into Relay.

    Args:
        dims: sizes of free dimensions: see `tvmkd.export.check.check`.
        info: the result of that check with these sizes; None: the file is checked here.

    Raises:
        InputError: the file cannot be used, or an operator in it cannot be imported (names it).
    """
    info = info or check(Path(path), dims or {})
    model, _ = unrolled(_with_sizes(weights.load(info.compiled, info.path), info), str(path))
    model = legalise(model, str(path))
    _refuse_unknown(model, path)
    shapes = {tensor.name: tuple(tensor.shape) for tensor in info.inputs}
    try:
        mod, params = relay.frontend.from_onnx(model, shape=shapes, freeze_params=True)
        mod = relay.transform.InferType()(relay.transform.DynamicToStatic()(mod))
    except Exception as error:  # of any type; its last line is the reason
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise InputError(
            f"{path}: TVM {tvm.__version__} cannot import {named(failed_at(error))}: "
            f"{reason[:110]}; try --stack relax, or rewrite this part of the model"
        ) from None
    if params:
        mod["main"] = relay.build_module.bind_params_by_name(mod["main"], params)
    main = mod["main"]
    kind = main.ret_type if main.ret_type is not None else main.body.checked_type
    fields = list(kind.fields) if isinstance(kind, relay.TupleType) else [kind]
    outputs = []
    for tensor, field in zip(info.outputs, fields, strict=True):
        shape = [
            int(size) if isinstance(size, tvm.tir.IntImm) else f"{tensor.name}.{axis}"
            for axis, size in enumerate(field.shape)
        ]
        outputs.append({"name": tensor.name, "shape": shape, "dtype": str(field.dtype)})
    inputs = [
        {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
        for tensor in info.inputs
    ]
    return Model(info, mod, inputs, outputs)


def _with_sizes(model: onnx.ModelProto, info: ModelInfo) -> onnx.ModelProto:
    """Writes the chosen sizes of free dimensions into the model's inputs."""
    shapes = {tensor.name: tensor.shape for tensor in info.inputs}
    for entry in model.graph.input:
        dims = entry.type.tensor_type.shape.dim
        for dim, size in zip(dims, shapes.get(entry.name, ()), strict=False):
            if isinstance(size, int):
                dim.dim_value = size
    return model


def _refuse_unknown(model: onnx.ModelProto, path: str | Path) -> None:
    from tvmkd.export.graph import unsupported

    problem = unsupported(model, supported())
    if problem:
        raise InputError(f"{path}: {problem}")


def channels_last(mod: tvm.IRModule) -> tvm.IRModule:
    """Folds constants and converts convolutions to NHWC.

    All passes run at optimisation level 3: below it, biases and activations do not fuse later.
    """
    fold = tvm.transform.module_pass(lambda mod, _: fold_rearranged(mod), opt_level=0, name="fold")
    passes = tvm.transform.Sequential(
        [
            relay.transform.SimplifyInference(),
            relay.transform.FoldConstant(),
            relay.transform.FoldScaleAxis(),
            relay.transform.CanonicalizeOps(),
            fold,
            relay.transform.FoldConstant(),
            relay.transform.RemoveUnusedFunctions(),
            relay.transform.ConvertLayout(NHWC),
            fold,
            relay.transform.FoldConstant(),
            relay.transform.InferType(),
        ]
    )
    with tvm.transform.PassContext(opt_level=3):
        return passes(mod)
