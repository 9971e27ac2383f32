"""The GPU side of the Relax stack: which kernels, their default schedules, their code.

Nothing here needs a GPU or a CUDA toolkit: TVM writes CUDA C, NVRTC makes PTX of it, ptxas checks
it, and the board's driver translates it once more as it loads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.s_tir import dlight

from tvmkd.base.errors import InputError
from tvmkd.stacks.relax import node_names
from tvmkd.stacks.relax.accumulate import sums_in_float32
from tvmkd.stacks.relax.fusion_limit import LimitFusion
from tvmkd.stacks.relax.importer import simplify

_QUANTISED = ("QuantizeLinear", "QLinear", "ConvInteger", "MatMulInteger")


def refuse_int8(path: Path, target: Mapping[str, Any]) -> None:
    """Refuses a quantised model where the target says that INT8 does not pay.

    Raises:
        InputError: names the operator and the target's reason.
    """
    precision = target["precisions"]["int8"]
    if precision["ok"]:
        return
    for node in onnx.load(os.fspath(path), load_external_data=False).graph.node:
        if any(part in node.op_type for part in _QUANTISED):
            raise InputError(
                f"{path}: is an INT8 model ({node.op_type}), and INT8 does not pay on "
                f"{target['name']} ({precision['reason']}); give the FP32 or FP16 one"
            )


def fuse(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Lowers an imported module to fused TIR kernels in the layout that it came in (NCHW).

    The kernels' ONNX nodes are in it for `tvmkd.stacks.relax.node_names.read`.
    """
    lower = tvm.ir.transform.Sequential(
        [
            relax.transform.DeadCodeElimination(),
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            LimitFusion,
            # So that no call is removed after this.
            relax.transform.DeadCodeElimination(),
        ]
    )
    with target:
        before = lower(sums_in_float32(simplify(_with_plain_names(mod))))
        grouped = relax.transform.FuseOps()(before)
        fused = relax.transform.DeadCodeElimination()(relax.transform.FuseTIR()(grouped))
    return node_names.with_nodes(fused, before, grouped, node_names.last_node(mod))


def _with_plain_names(mod: tvm.IRModule) -> tvm.IRModule:
    """Inputs as ``x0``, ``x1``...: TVM takes their names into the kernels, and CUDA C knows none
    with a slash.
    """
    rename = _Rename(mod)
    main = mod["main"]
    for number, param in enumerate(main.params):
        rename.names[param] = relax.Var(f"x{number}", param.ty)
    changed = tvm.IRModule(dict(mod.functions_items()), attrs=mod.attrs)
    body = rename.visit_expr(main.body)
    renamed = relax.Function([*rename.names.values()], body, main.ret_ty, main.is_pure, main.attrs)
    changed.update_func(mod.get_global_var("main"), renamed)
    return changed


@mutator
class _Rename(PyExprMutator):  # type: ignore[misc]
    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__(mod)
        self.names: dict[relax.Var, relax.Var] = {}

    def visit_var_(self, var: relax.Var) -> relax.Expr:
        return self.names.get(var, var)


def with_default_schedules(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Every kernel that is not scheduled yet by dlight's rules: no thread, no code for a GPU."""
    rules = dlight.gpu
    apply = dlight.ApplyDefaultSchedule(
        rules.Matmul(), rules.GEMV(), rules.Reduction(), rules.GeneralReduction(), rules.Fallback()
    )
    with target:
        return apply(mod)
