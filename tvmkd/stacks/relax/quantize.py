"""``relax.quantize`` with one scale: a multiplication, and an instruction that rounds.

TVM's own kernel divides, rounds, and converts, which takes three times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import ir, relax, te, tirx
from tvm.target import Target

from tvmkd.stacks.relax.expressions import constant
from tvmkd.stacks.relax.quantized_tensor import BYTES


def quantize(x: te.Tensor, inverse: float, zero: int, dtype: str) -> te.Tensor:
    """float32 as integers: to the nearest, halves to even, bounded.

    Args:
        inverse: of the scale.
        dtype: int8 or uint8.
    """
    low, high = (tirx.const(float(bound - zero), "float32") for bound in BYTES[dtype])

    def value(*at: Any) -> Any:
        # Bounded first: the instruction does not saturate.
        inside = te.max(te.min(x[at] * tirx.const(inverse, "float32"), high), low)
        whole = tirx.call_llvm_pure_intrin("int32", "llvm.lrint", inside)
        return (whole + tirx.const(zero, "int32")).astype(dtype)

    return te.compute(x.shape, value, name="quantized")


def legalize(builder: relax.BlockBuilder, call: ir.Call) -> relax.Expr | None:
    """A kernel for ``relax.quantize``; None where it has more scales than one, or other types."""
    scale, zero = (constant(arg) for arg in call.args[1:3])
    target = Target.current(allow_none=True)
    if target is None or target.kind.name != "llvm" or scale is None or zero is None:
        return None
    dtypes = [str(each.ty.dtype).removeprefix("T.") for each in (call.args[0], call)]
    if scale.size != 1 or zero.size != 1 or scale.dtype != np.float32:
        return None
    with np.errstate(all="ignore"):
        inverse = 1 / scale.reshape(())
    if dtypes[0] != "float32" or dtypes[1] not in BYTES or not np.isfinite(inverse):
        return None
    if not abs(inverse) >= np.finfo(np.float32).tiny:
        return None
    return builder.call_te(
        lambda x: quantize(x, float(inverse), int(zero.reshape(())), dtypes[1]), call.args[0],
        primfunc_name_hint="quantize",
    )  # fmt: skip
