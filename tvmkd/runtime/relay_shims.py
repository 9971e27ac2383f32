"""Shims for faults in some builds of a Relay TVM (0.14 to 0.19).

Each docstring describes the fault; a shim is installed only in a build that has it.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any


def install() -> None:
    """Installs the shims that this TVM needs."""
    load_module_with_one_argument()
    dense_that_can_be_rewritten()
    scales_of_run_time_stay_out_of_weights()


def load_module_with_one_argument() -> bool:
    """hhb-tvm 3.2.3's RPC client sends ``load_module`` three arguments; servers expect one.

    Returns:
        True if the shim was needed.
    """
    from tvm.rpc.client import RPCSession

    if "options" not in inspect.signature(RPCSession.load_module).parameters:
        return False

    def load_module(self: Any, path: str) -> Any:
        return self.get_function("tvm.rpc.server.load_module")(path)

    RPCSession.load_module = load_module
    return True


def dense_that_can_be_rewritten() -> bool:
    """AutoScheduler in upstream 0.9 to 0.19 cannot rewrite the weight layout of dense.

    ``topi.nn.matmul`` evaluates ``len(tensor_b).shape``, which fails. Its compute supports any
    number of axes, so they are named i0 and i1, and the rewrite looks for i and j
    (``name_it != name_to_arg.end()``).

    Returns:
        True if the shim was needed.
    """
    from tvm import auto_scheduler, te, topi

    module = sys.modules["tvm.topi.nn.dense"]  # topi.nn.dense is its function of the same name
    if "len(tensor_b).shape" not in inspect.getsource(module.matmul):
        return False
    upstream = module.dense

    def dense(
        data: Any,
        weight: Any,
        bias: Any = None,
        out_dtype: Any = None,
        auto_scheduler_rewritten_layout: str = "",
        meta_schedule_original_shape: Any = None,
    ) -> Any:
        layout = auto_scheduler_rewritten_layout
        if meta_schedule_original_shape or len(data.shape) != 2:
            return upstream(data, weight, bias, out_dtype, layout, meta_schedule_original_shape)
        kind = out_dtype or data.dtype
        columns, depth = (
            weight.shape
            if not layout
            else (auto_scheduler.get_shape_from_rewritten_layout(layout, ["j", "k"]))
        )
        if layout:
            auto_scheduler.remove_index_check(weight)
        k = te.reduce_axis((0, depth), name="k")
        result = te.compute(
            (data.shape[0], columns),
            lambda i, j: te.sum(data[i, k].astype(kind) * weight[j, k].astype(kind), axis=k),
            name="T_matmul_NT",
            tag="dense",
            attrs={"layout_free_placeholders": [weight]},
        )
        if bias is not None:
            result = topi.add(result, bias.astype(kind))
        return auto_scheduler.rewrite_compute_body(result, layout) if layout else result

    if topi.nn.dense is upstream:
        topi.nn.dense = dense
    return True


def scales_of_run_time_stay_out_of_weights() -> bool:
    """``FoldScaleAxis`` folds a scale before a product into the weights, even a computed scale.

    Squeeze-and-excitation and hard-swish then multiply all weights in every run, which took half
    the time of MobileNetV3-small. With the shim, a constant scale before a product is not folded
    either; exporters only leave scales after a product (batch normalisation).

    Returns:
        True if the shim was needed.
    """
    import tvm
    from tvm import relay

    x, scale = relay.var("x", shape=(1, 4)), relay.var("scale", shape=(4,))
    weight = relay.const([[1.0] * 4] * 2, "float32")
    mod = tvm.IRModule.from_expr(relay.nn.dense(relay.multiply(x, scale), weight))
    with tvm.transform.PassContext(opt_level=3):
        folded = relay.transform.ForwardFoldScaleAxis()(relay.transform.InferType()(mod))
    if isinstance(folded["main"].body.args[1], relay.Constant):
        return False
    for name in ("nn.conv1d", "nn.conv2d", "nn.conv3d", "nn.dense"):
        tvm.ir.Op.get(name).reset_attr("FScaleAxisForwardPrep")
    return True
