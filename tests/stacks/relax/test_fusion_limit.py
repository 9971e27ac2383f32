"""Kernels of values that are read several times stay small, and compute the same."""

from __future__ import annotations

import numpy as np
from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    import tvm_ffi
    from relax_graphs import PLAIN, module, operators, run
    from tvm import relax

    from tvmkd.stacks.relax.fusion_limit import LimitFusion, limit_fusion


def diamonds(count: int):
    """``t = t + tanh(t * t - 0.5)``, ``count`` times."""

    def make(x):
        for _ in range(count):
            inner = relax.op.multiply(x, x)
            x = relax.op.add(x, relax.op.tanh(relax.op.subtract(inner, relax.const(0.5))))
        return x

    return make


def annotated(make, shape=(1, 8)):
    passes = [relax.transform.LegalizeOps(), relax.transform.AnnotateTIROpPattern()]
    return tvm.ir.transform.Sequential(passes)(module([shape], make))


def fused(mod):
    passes = [LimitFusion, relax.transform.FuseOps(), relax.transform.FuseTIR()]
    return tvm.ir.transform.Sequential(passes)(mod)


@inside("relax")
def test_a_value_is_stored_before_its_expression_grows_too_far() -> None:
    mod = limit_fusion(annotated(diamonds(6)))
    stored = [name for name in operators(mod) if name.endswith("_stored")]
    assert stored == ["add_stored", "add_stored"]
    names = operators(fused(annotated(diamonds(6))))
    assert names.count("add_stored") == 2
    assert len(names) == 7
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 8)
    wanted = x
    for _ in range(6):
        wanted = wanted + np.tanh(wanted * wanted - np.float32(0.5))
    (got,) = run(fused(annotated(diamonds(6))), [x], PLAIN)
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


@inside("relax")
def test_what_stays_small_is_left_alone() -> None:
    def hard_swish(x):
        shifted = relax.op.add(x, relax.const(3.0))
        return relax.op.multiply(x, relax.op.clip(shifted, 0.0, 6.0))

    def chain(x):
        for _ in range(100):
            x = relax.op.tanh(x)
        return x

    for make in (diamonds(3), hard_swish, chain):
        mod = annotated(make)
        assert tvm_ffi.structural_equal(limit_fusion(mod), mod)


@inside("relax")
def test_a_kernel_that_reads_an_element_often_counts_each_time() -> None:
    def resized(x):
        for _ in range(4):
            x = relax.op.tanh(relax.op.add(x, relax.const(1.0)))
        for _ in range(2):
            x = relax.op.image.resize2d(x, (8, 8), method="cubic", layout="NCHW")
        return x

    names = operators(limit_fusion(annotated(resized, (1, 1, 4, 4))))
    assert "tir_tanh_stored" in names
