"""Values that are read several times are stored before the kernels that read them grow."""

from __future__ import annotations

from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    from tvm import relay

    from tvmkd.stacks.relay.fusion_limit import limit_fusion


def diamonds(count: int):
    x = t = relay.var("x", shape=(1, 8))
    for _ in range(count):
        t = relay.add(t, relay.tanh(relay.subtract(relay.multiply(t, t), relay.const(0.5))))
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([x], t)))


@inside("relay")
def test_a_value_is_stored_before_its_expression_grows_too_far() -> None:
    mod = limit_fusion(diamonds(6))
    assert mod.astext().count("stop_fusion") == 2
    fused = relay.transform.FuseOps(3)(mod).astext()
    assert fused.count("Primitive=1") == 3
    assert "stop_fusion" not in fused
    # The same values in the same order.
    without = "".join(line for line in mod.astext().splitlines() if "stop_fusion" not in line)
    plain = diamonds(6).astext()
    for name in ("add(", "tanh(", "multiply(", "subtract("):
        assert without.count(name) == plain.count(name) == 6


@inside("relay")
def test_what_stays_small_is_left_alone() -> None:
    mod = diamonds(3)
    assert limit_fusion(mod) is mod
