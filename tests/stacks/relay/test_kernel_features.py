"""Numbers of AutoScheduler's kernels."""

from __future__ import annotations

from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    import tvm
    from tvm import relay

    from tvmkd.stacks.relay.kernel_features import features
    from tvmkd.stacks.relay.tasks import tasks_of

TARGET = {
    "name": "mine",
    "tvm": {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3", "num-cores": 2},
}


def network() -> Any:
    """A convolution with bias and activation, adaptive pooling, and a dense layer."""
    x = relay.var("x", shape=(1, 9, 8, 4))
    weight = relay.const(np.ones((3, 3, 4, 6), np.float32))
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
    y = relay.nn.conv2d(x, weight, padding=1, strides=2, channels=6, **layouts)
    y = relay.nn.relu(relay.add(y, relay.const(np.ones(6, np.float32))))
    y = relay.nn.adaptive_avg_pool2d(y, (2, 2), layout="NHWC")
    y = relay.nn.dense(relay.nn.batch_flatten(y), relay.const(np.ones((3, 24), np.float32)))
    return relay.transform.InferType()(tvm.IRModule.from_expr(y))


@inside("relay")
def test_sizes_and_arguments_are_read_from_the_computation() -> None:
    found = {task.kind: features(task) for task in tasks_of(network(), TARGET)}
    conv, pool, dense = found["conv2d"], found["pooling"], found["dense"]
    assert {name: conv[name] for name in ("images", "rows", "columns", "channels", "sums")} == {
        "images": 1, "rows": 5, "columns": 4, "channels": 6, "sums": 36,
    }  # fmt: skip
    assert conv["work"] == 5 * 4 * 6 * 36
    assert conv["input_bytes"] == 4 * 9 * 8 * 4
    assert conv["weight_bytes"] == 4 * 3 * 3 * 4 * 6
    assert conv["extra_bytes"] == 4 * 6
    assert conv["output_bytes"] == 4 * 5 * 4 * 6
    assert conv["elementwise"] >= 3, "padding, bias, activation"
    assert conv["other_work"] >= 2 * 5 * 4 * 6
    assert (conv["reductions"], conv["element"]) == (0, 4)
    assert dense["channels"] == 3
    assert dense["sums"] == 24
    assert (dense["input_bytes"], dense["weight_bytes"]) == (96, 3 * 96)
    assert (pool["sums"], pool["channels"]) == (3 * 2, 6), "the first window of 5 x 4 pixels"
    assert pool["weight_bytes"] == 0
    assert all(isinstance(value, float) for value in [*conv.values(), *dense.values()])


@inside("relay")
def test_arguments_without_axes_are_told_apart() -> None:
    x = relay.var("x", shape=(1, 8), dtype="float32")
    dense = relay.nn.dense(x, relay.const(np.ones((4, 8), np.float32)))
    scalars = [relay.const(np.float32(value)) for value in (0.3, 0.7)]
    y = relay.multiply(relay.add(dense, scalars[0]), scalars[1])
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(y))
    (found,) = (features(task) for task in tasks_of(mod, TARGET))
    assert (found["input_bytes"], found["weight_bytes"], found["output_bytes"]) == (32, 128, 16)
