"""Quantising: rounded as ONNX says, bounded, and other forms left to TVM."""

from __future__ import annotations

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    from relax_graphs import computed, module
    from tvm import relax

    from tvmkd.stacks.relax import quantize


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 0), ("uint8", 130), ("int8", -3)])
@inside("relax")
def test_halves_are_rounded_to_even_and_far_values_bounded(dtype: str, zero: int) -> None:
    steps = np.arange(-300, 300, 0.5, dtype=np.float32)
    far = np.array([np.inf, -np.inf, 3e38, -3e38, 2**31, -(2**31)], np.float32)
    x = np.concatenate([steps * np.float32(0.25), far])
    found = computed(lambda a: quantize.quantize(a, 4.0, zero, dtype), x)
    limits = np.iinfo(dtype)
    with np.errstate(over="ignore"):
        wanted = np.clip(np.rint(x * 4) + zero, limits.min, limits.max).astype(dtype)
    np.testing.assert_array_equal(found, wanted)


@inside("relax")
def test_one_scale_in_float32_on_a_cpu_is_its_own() -> None:
    def made(scale: np.ndarray, zero: np.ndarray, kind: str = "llvm") -> bool:
        mod = module(
            [(2, 3)],
            lambda x: relax.op.quantize(x, relax.const(scale), relax.const(zero), 1, "int8"),
        )
        call = mod["main"].body.blocks[0].bindings[0].value
        builder = relax.BlockBuilder()
        params = list(mod["main"].params)
        with tvm.target.Target({"kind": kind}), builder.function("main", params):
            found = quantize.legalize(builder, call)
            builder.emit_func_output(relax.const(0))
        return found is not None

    one, zero = np.array(0.1, np.float32), np.array(3, np.int8)
    assert made(one, zero)
    assert not made(one, zero, "c")
    assert not made(np.full(3, 0.1, np.float32), np.zeros(3, np.int8))
    assert not made(np.array(1e-45, np.float32), zero), "its inverse is infinite"
