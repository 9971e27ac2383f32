"""Relay's sums of half-precision numbers: exact where float16 arithmetic stops counting."""

from __future__ import annotations

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    import tvm
    from relay_graphs import run
    from tvm import relay
    from tvm.relay import nn

    from tvmkd.stacks.relay.accumulate import sums_in_float32
    from tvmkd.stacks.relay.importer import channels_last

    def ones(*shape: int):
        return relay.const(np.ones(shape, np.float16))

    CONV = {"channels": 4, "kernel_size": (4, 4)}
    CASES = {
        "conv2d": ((1, 256, 4, 4), lambda x: nn.conv2d(x, ones(4, 256, 4, 4), **CONV)),
        "transposed": ((1, 4096, 1, 1), lambda x: nn.conv2d_transpose(
            x, ones(4096, 4, 2, 2), strides=(2, 2), channels=4, kernel_size=(2, 2))),
        "dense": ((2, 4096), lambda x: nn.dense(x, ones(8, 4096))),
        "batch_matmul": ((2, 3, 4096), lambda x: nn.batch_matmul(x, ones(2, 8, 4096))),
        "sum": ((2, 4096), lambda x: relay.sum(x, axis=1)),
    }  # fmt: skip


@inside("relay")
def _sums(name: str) -> list[list[float]]:
    shape, make = CASES[name]
    x = relay.var("x", shape=shape, dtype="float16")
    mod = sums_in_float32(tvm.IRModule.from_expr(relay.Function([x], make(x))))
    found = []
    for lowered in (mod, channels_last(mod)):
        (got,) = run(lowered, [np.ones(shape, np.float16)])
        assert got.dtype == np.float16
        found.append(sorted({float(value) for value in got.ravel()}))
    return found


@pytest.mark.parametrize("name", ["conv2d", "transposed", "dense", "batch_matmul", "sum"])
def test_4096_ones_add_up_to_4096(name: str) -> None:
    assert _sums(name) == [[4096.0], [4096.0]]


@inside("relay")
def test_only_what_sums_halves_is_widened() -> None:
    x = relay.var("x", shape=(2, 8), dtype="float32")
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.sum(nn.dense(x, relay.const(
        np.ones((4, 8), np.float32))), axis=1)))  # fmt: skip
    assert "cast" not in sums_in_float32(mod).astext()
    half = relay.var("x", shape=(2, 8), dtype="float16")
    mod = tvm.IRModule.from_expr(relay.Function([half], nn.relu(relay.reshape(half, (16,)))))
    assert "cast" not in sums_in_float32(mod).astext()
    mod = tvm.IRModule.from_expr(relay.Function([half], nn.softmax(half)))
    assert sums_in_float32(mod).astext().count("cast") == 2
