"""NaN passes through ReLU, Clip, Max and Min in the Relay stack, as in ONNX Runtime."""

from __future__ import annotations

from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    import tvm
    from relay_graphs import run
    from tvm import relay

    from tvmkd.stacks.relay.nan import keep_nan, lower_pass

    NAN = float("nan")


@inside("relay")
def test_nan_passes_on_either_side() -> None:
    x, y = (relay.var(name, shape=(4,), dtype="float32") for name in "xy")
    low = relay.const(np.zeros(4, np.float32))
    both = [relay.maximum(x, y), relay.minimum(x, y), relay.maximum(x, low), relay.maximum(low, x)]
    outputs = [relay.nn.relu(x), relay.clip(x, -1.0, 1.0), *both]
    mod = tvm.IRModule.from_expr(relay.Function([x, y], relay.Tuple(outputs)))
    given = [np.array([NAN, -2, 2, 1], np.float32), np.array([3, 0, 0, NAN], np.float32)]
    config = {"tir.add_lower_pass": [lower_pass()]}
    found = run(keep_nan(mod), given, config)
    wanted = [
        [NAN, 0, 2, 1],
        [NAN, -1, 1, 1],
        [NAN, 0, 2, NAN],
        [NAN, -2, 0, NAN],
        [NAN, 0, 2, 1],
        [NAN, 0, 2, 1],
    ]
    for got, expected in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, np.array(expected, np.float32))


@inside("relay")
def test_integers_and_constants_get_no_guard() -> None:
    x, y = (relay.var(name, shape=(4,), dtype="int32") for name in "xy")
    z = relay.var("z", shape=(4,), dtype="float32")
    parts = [relay.maximum(x, y), relay.maximum(z, relay.const(1.0))]
    mod = tvm.IRModule.from_expr(relay.Function([x, y, z], relay.Tuple(parts)))
    text = keep_nan(mod).astext()
    assert "isnan" not in text
    assert text.count("maximum") == 2
