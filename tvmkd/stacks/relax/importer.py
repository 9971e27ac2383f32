"""Imports an ONNX file into Relax and lowers it to fused kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.byoc.region import Refused
from tvmkd.export import weights
from tvmkd.export.check import ModelInfo, check
from tvmkd.export.handover import OPERATOR
from tvmkd.export.normalise import inside_bodies, unrolled
from tvmkd.stacks.failed_node import failed_at
from tvmkd.stacks.relax import folding
from tvmkd.stacks.relax.accumulate import is_half, sums_in_float32
from tvmkd.stacks.relax.attention import attention
from tvmkd.stacks.relax.corrected_operators import CORRECTED, within
from tvmkd.stacks.relax.fusion_limit import LimitFusion
from tvmkd.stacks.relax.gelu import gelu
from tvmkd.stacks.relax.layout import channels_last
from tvmkd.stacks.relax.outside import Outside, in_place
from tvmkd.stacks.relax.quantized import integers
from tvmkd.stacks.relax.recurrent import Converters, converters
from tvmkd.stacks.relax.refusal import refusal, unknown, unreadable
from tvmkd.stacks.relax.reshapes import RESHAPES, JoinReshapes
from tvmkd.stacks.relax.row_kernels import legalizations
from tvmkd.stacks.relax.tables import tables
from tvmkd.stacks.relax.taps import useful_taps
from tvmkd.stacks.relax.templates.cpu import Cpu


@dataclass
class Model:
    """An ONNX file in Relax.

    Attributes:
        info: facts about the file.
        mod: as imported, weights as constants.
        inputs, outputs: ``{"name", "shape", "dtype"}`` in the order of ``main``.
        fused: the module of fused kernels, set after `fuse`.
        outside: what ONNX Runtime runs of it, if anything.
    """

    info: ModelInfo
    mod: tvm.IRModule
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    fused: tvm.IRModule | None = None
    outside: Outside | None = None

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.info.sha256


def supported() -> set[str]:
    """The ONNX operators that Relax imports."""
    return {*onnx_frontend._get_convert_map(), *CORRECTED, "Constant", "If"}


def read(
    path: str | Path,
    dims: Mapping[str, int] | None = None,
    info: ModelInfo | None = None,
    *,
    hand_over: bool = False,
    cpu: Cpu | None = None,
) -> Model:
    """Reads an ONNX file into Relax.

    Args:
        dims: sizes of free dimensions: see `tvmkd.export.check.check`.
        info: the result of that check with these sizes; None: the file is checked here.
        hand_over: let ONNX Runtime run what TVM cannot import: see `tvmkd.stacks.relax.outside`.
        cpu: whose kernels compute recurrent layers; None: their steps are plain operators.

    Raises:
        InputError: the file cannot be used, or an operator in it cannot be imported (names it).
    """
    info = info or check(Path(path), dims or {})
    model = weights.load(info.compiled, info.path)
    layers: Converters = {}
    if cpu is not None and not inside_bodies(model):
        layers = converters(cpu)
    else:
        model, reasons = unrolled(model, str(path))
        info = replace(info, reasons={**info.reasons, **reasons})
    try:
        return _imported(Path(path), model, info, layers, None)
    except _NotImported as error:
        refused = error
    if refused.node is not None and refused.node.op_type in layers:
        # Its weights are not constant after all, say.
        return read(path, dims, info, hand_over=hand_over)
    if not hand_over:
        raise _for_another_target(refused.reason)
    try:
        outside = Outside(model)
        # Each round takes at least one node more.
        while _taken(outside, refused, info, layers):
            try:
                return _imported(Path(path), outside.model, info, layers, outside)
            except _NotImported as error:
                refused = error
    except (InputError, Refused) as error:
        raise refused.reason from error
    raise refused.reason


def _for_another_target(reason: TvmkdError) -> TvmkdError:
    """The refusal with what can be done on a host, where that fits into its line."""
    text = f"{reason}; --byoc onnxruntime lets ONNX Runtime run it, which needs Python there"
    return InputError(text) if isinstance(reason, InputError) and len(text) <= 300 else reason


class _NotImported(Exception):
    """TVM cannot import a model.

    Attributes:
        reason: the error for the user.
        node: where its importer failed; None if it did not start, or read all nodes.
        started: whether it did.
    """

    def __init__(
        self, reason: TvmkdError, node: onnx.NodeProto | None = None, started: bool = True
    ) -> None:
        self.reason, self.node, self.started = reason, node, started


def _taken(outside: Outside, refused: _NotImported, info: ModelInfo, layers: Converters) -> bool:
    """Hands over what is in the importer's way; whether there was anything."""
    node = refused.node
    if not refused.started:
        known = {*supported(), *layers}
        return outside.take(lambda each: unreadable(each, info, known))
    if node is None:
        return outside.take_changing()
    if node.op_type == OPERATOR:
        # A shape is no tensor in TVM: what computes it goes with the part.
        return outside.take_sizes(node.input)
    # The second node of an operator that it refuses: all of them.
    every, reason = node.op_type in outside.why, "TVM's importer refuses it"
    return outside.take(
        lambda each: reason if each == node or (every and each.op_type == node.op_type) else ""
    )


def _imported(
    path: Path,
    model: onnx.ModelProto,
    info: ModelInfo,
    layers: Converters,
    outside: Outside | None,
) -> Model:
    known = {*supported(), *layers, *(() if outside is None else (OPERATOR,))}
    problem = unknown(path, model, info, known)
    if problem:
        raise _NotImported(InputError(problem), started=False)
    shapes = {tensor.name: list(tensor.shape) for tensor in info.inputs}
    more = {**layers, **({} if outside is None else {OPERATOR: outside.converter()})}
    original = onnx_frontend._get_convert_map
    onnx_frontend._get_convert_map = lambda: {**original(), **CORRECTED, **more}
    plain = onnx_frontend._normalize_negative_indices
    onnx_frontend._normalize_negative_indices = within
    try:
        mod = onnx_frontend.from_onnx(model, shape_dict=shapes)
        outputs = _outputs(mod, info, outside is not None)
    except Exception as error:  # of any class
        raise _NotImported(refusal(path, error), failed_at(error)) from None
    finally:
        onnx_frontend._get_convert_map = original
        onnx_frontend._normalize_negative_indices = plain
    if outside is not None:
        mod = outside.carried(mod)
    inputs = [
        {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
        for tensor in info.inputs
    ]
    return Model(info, mod, inputs, outputs, outside=outside)


def _outputs(mod: tvm.IRModule, info: ModelInfo, free: bool) -> list[dict[str, Any]]:
    """Name, shape and dtype of each output; a size that depends on the data is a string.

    Args:
        free: whether there may be such sizes, which ONNX Runtime gives.

    Raises:
        InputError: the shape of an output depends on the data.
    """
    result = mod["main"].ret_ty if hasattr(mod["main"], "ret_ty") else mod["main"].body.ty
    fields = list(result.fields) if isinstance(result, relax.TupleType) else [result]
    outputs = []
    for tensor, field in zip(info.outputs, fields, strict=True):
        try:
            shape: list[int | str] = [int(size) for size in field.shape]
        except (TypeError, AttributeError):
            if free:
                shape = [
                    size if isinstance(size, int) else f"{tensor.name}.{axis}"
                    for axis, size in enumerate(tensor.shape)
                ]
                outputs.append({"name": tensor.name, "shape": shape, "dtype": str(field.dtype)})
                continue
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
        ]
    )
    folded = folding.fold(passes(mod))
    return relax.transform.FoldConstant()(folded) if folding.left(folded) else folded


def fuse(mod: tvm.IRModule, target: tvm.target.Target, cpu: Cpu | None = None) -> tvm.IRModule:
    """Lowers an imported module to fused TIR kernels, channels last, with packed weights.

    Args:
        cpu: of the target; None: one with AVX2.
    """
    cpu = cpu or Cpu()
    lower = tvm.ir.transform.Sequential(
        [
            relax.transform.DeadCodeElimination(),
            relax.transform.CanonicalizeBindings(),
            # Reshapes last: legalizations make more of them.
            relax.transform.LegalizeOps(legalizations(), skip_ops=RESHAPES),
            JoinReshapes,
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
        mod = gelu(useful_taps(simplify(integers(tables(mod), target))))
        return lower(channels_last(attention(sums_in_float32(in_place(mod)), cpu), cpu))
