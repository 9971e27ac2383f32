"""Imports an ONNX file into Relax and lowers it to fused kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tvmkd.base.errors import InputError
from tvmkd.export.check import ModelInfo, check
from tvmkd.stacks.relax.accumulate import is_half, sums_in_float32
from tvmkd.stacks.relax.corrected_operators import CORRECTED
from tvmkd.stacks.relax.fusion_limit import LimitFusion
from tvmkd.stacks.relax.layout import channels_last
from tvmkd.stacks.relax.refusal import refusal, unknown


@dataclass
class Model:
    """An ONNX file in Relax.

    Attributes:
        info: facts about the file.
        mod: as imported, weights as constants.
        inputs, outputs: ``{"name", "shape", "dtype"}`` in the order of ``main``.
        fused: the module of fused kernels, set after `fuse`.
    """

    info: ModelInfo
    mod: tvm.IRModule
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    fused: tvm.IRModule | None = None

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.info.sha256


def supported() -> set[str]:
    """The ONNX operators that Relax imports."""
    return {*onnx_frontend._get_convert_map(), *CORRECTED, "Constant", "If"}


def read(
    path: str | Path, dims: Mapping[str, int] | None = None, info: ModelInfo | None = None
) -> Model:
    """Reads an ONNX file into Relax.

    Args:
        dims: sizes of free dimensions: see `tvmkd.export.check.check`.
        info: the result of that check with these sizes; None: the file is checked here.

    Raises:
        InputError: the file cannot be used, or an operator in it cannot be imported (names it).
    """
    info = info or check(Path(path), dims or {})
    model = onnx.load(str(info.compiled))
    problem = unknown(Path(path), model, info, supported())
    if problem:
        raise InputError(problem)
    shapes = {tensor.name: list(tensor.shape) for tensor in info.inputs}
    original = onnx_frontend._get_convert_map
    onnx_frontend._get_convert_map = lambda: {**original(), **CORRECTED}
    try:
        mod = onnx_frontend.from_onnx(model, shape_dict=shapes)
        outputs = _outputs(mod, info)
    except Exception as error:  # of any class
        raise refusal(Path(path), error) from None
    finally:
        onnx_frontend._get_convert_map = original
    inputs = [
        {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
        for tensor in info.inputs
    ]
    return Model(info, mod, inputs, outputs)


def _outputs(mod: tvm.IRModule, info: ModelInfo) -> list[dict[str, Any]]:
    """Name, shape and dtype of each output.

    Raises:
        InputError: the shape of an output depends on the data.
    """
    result = mod["main"].ret_ty if hasattr(mod["main"], "ret_ty") else mod["main"].body.ty
    fields = list(result.fields) if isinstance(result, relax.TupleType) else [result]
    outputs = []
    for tensor, field in zip(info.outputs, fields, strict=True):
        try:
            shape = [int(size) for size in field.shape]
        except (TypeError, AttributeError):
            raise InputError(
                f'{info.path}: the shape of output "{tensor.name}" depends on the data, which a '
                "Relax artifact cannot have; cut the model before, or try --stack relay"
            ) from None
        outputs.append({"name": tensor.name, "shape": shape, "dtype": str(field.dtype)})
    return outputs


def simplify(mod: tvm.IRModule) -> tvm.IRModule:
    """Removes training-only operators from an imported module and folds constants."""
    # TVM's pass adds a float32 epsilon to the weights, whatever their dtype. What it leaves is
    # decomposed below and fuses with the convolution.
    fold = [] if is_half(mod) else [relax.transform.FoldBatchnormToConv2D()]
    passes = tvm.ir.transform.Sequential(
        [
            *fold,
            relax.transform.DecomposeOpsForInference(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.FoldConstant(),
        ]
    )
    return passes(mod)


def fuse(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Lowers an imported module to fused TIR kernels, channels last, with packed weights."""
    lower = tvm.ir.transform.Sequential(
        [
            relax.transform.DeadCodeElimination(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            LimitFusion,
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination(),
        ]
    )
    with target:
        return lower(channels_last(sums_in_float32(simplify(mod))))
