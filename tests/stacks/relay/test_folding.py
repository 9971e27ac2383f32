"""Constants that are reshaped or transposed become constants, with the values that Relay gives."""

from __future__ import annotations

from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    import tvm
    from tvm import relay

    from tvmkd.stacks.relay.folding import fold_rearranged

    DATA = np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(2, 3, 4, 5)


def calls(body: Any) -> list[str]:
    """The operators in an expression, inner ones first."""
    found: list[str] = []

    def visit(each: Any) -> None:
        if isinstance(each, relay.Call):
            found.append(each.op.name)

    relay.analysis.post_order_visit(body, visit)
    return found


@inside("relay")
def test_the_values_are_those_of_relays_own_folding() -> None:
    constant = relay.const(DATA)
    each = {
        "expand": relay.expand_dims(constant, 1, 2),
        "reshape": relay.reshape(constant, (0, -1, 5)),
        "squeeze": relay.squeeze(relay.reshape(constant, (1, 6, 1, 20)), [2]),
        "reversed": relay.transpose(constant),
        "turned": relay.transpose(constant, (2, 0, -1, 1)),
        "last": relay.layout_transform(constant, "NCHW", "NHWC"),
        "kernel": relay.layout_transform(constant, "OIHW", "HWOI"),
        "two": relay.transpose(relay.layout_transform(constant, "OIHW", "HWIO"), (3, 1, 0, 2)),
        "half": relay.transpose(relay.const(DATA.astype("float16")), (1, 0, 2, 3)),
        "whole": relay.reshape(relay.const(DATA.astype("int64")), (-1,)),
    }
    for name, body in each.items():
        mod = tvm.IRModule.from_expr(body)
        mine = fold_rearranged(mod)["main"].body
        upstream = relay.transform.FoldConstant()(relay.transform.InferType()(mod))["main"].body
        assert isinstance(mine, relay.Constant), name
        got, wanted = mine.data.numpy(), upstream.data.numpy()
        assert got.dtype == wanted.dtype, name
        np.testing.assert_array_equal(got, wanted, err_msg=name)


@inside("relay")
def test_what_computes_or_is_no_constant_stays() -> None:
    constant = relay.const(DATA)
    given = relay.var("x", shape=DATA.shape)
    for body, left in (
        (relay.negative(constant), ["negative"]),
        (relay.transpose(given), ["transpose"]),
        (relay.layout_transform(constant, "NCHW", "NCHW2h"), ["layout_transform"]),
        (relay.add(given, relay.transpose(relay.const(DATA.T))), ["add"]),
        (relay.reshape(relay.negative(constant), (-1,)), ["negative", "reshape"]),
    ):
        mod = tvm.IRModule.from_expr(body)
        assert calls(fold_rearranged(mod)["main"].body) == left
