"""This TVM still needs each shim, which repairs the fault; a TVM without it is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from in_tvm import INSIDE, inside

from tvmkd.runtime import relay_shims

if INSIDE:
    import numpy as np
    import tvm
    from tvm import relay, te, topi


def test_each_shim_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    shims = [
        name
        for name, each in vars(relay_shims).items()
        if callable(each) and each.__module__ == relay_shims.__name__ and name != "install"
    ]
    for name in shims:
        monkeypatch.setattr(relay_shims, name, lambda name=name: called.append(name))
    relay_shims.install()
    assert called == shims
    assert len(shims) == 3


def sessions(monkeypatch: pytest.MonkeyPatch, load_module: Any) -> Any:
    """A TVM whose RPC sessions load modules by this method."""
    import fake_tvm

    class Session:
        def get_function(self, name: str) -> Any:
            return lambda *arguments: (name, *arguments)

    Session.load_module = load_module  # type: ignore[attr-defined]
    fake_tvm.install(monkeypatch, tvm={}, tvm__rpc={}, tvm__rpc__client={"RPCSession": Session})
    return Session


def test_a_session_that_sends_three_arguments_sends_one(monkeypatch: pytest.MonkeyPatch) -> None:
    session = sessions(monkeypatch, lambda self, path, fmt="", options=None: "three arguments")
    assert relay_shims.load_module_with_one_argument()
    assert session().load_module("m.so") == ("tvm.rpc.server.load_module", "m.so")
    assert not relay_shims.load_module_with_one_argument(), "it is replaced by now"


def test_a_session_that_sends_one_argument_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    session = sessions(monkeypatch, lambda self, path: f"upstream's {path}")
    assert not relay_shims.load_module_with_one_argument()
    assert session().load_module("m.so") == "upstream's m.so"


@inside("relay")
def test_the_import_has_installed_them_once() -> None:
    import inspect

    from tvm.rpc.client import RPCSession

    assert "options" not in inspect.signature(RPCSession.load_module).parameters
    assert not relay_shims.load_module_with_one_argument()
    dense = topi.nn.dense
    assert dense.__module__ == relay_shims.__name__
    assert relay_shims.dense_that_can_be_rewritten(), "upstream's source has the fault"
    assert topi.nn.dense is dense
    assert not relay_shims.scales_of_run_time_stay_out_of_weights()


def product(layout: str = "", weight: tuple[int, ...] = (5, 3), **more: Any) -> Any:
    """Inputs and output of a dense layer of 2 rows, 3 inputs and 5 outputs."""
    x, w = te.placeholder((2, 3), name="x"), te.placeholder(weight, name="w")
    if "bias" in more:
        more["bias"] = te.placeholder((5,), name="bias")
    out = topi.nn.dense(x, w, auto_scheduler_rewritten_layout=layout, **more)
    return [x, w, *([more["bias"]] if "bias" in more else []), out]


def computed(tensors: Any, *arrays: Any) -> Any:
    """The output of a tensor expression for these inputs."""
    *_, out = tensors
    built = tvm.build(te.create_schedule(out.op), tensors, "llvm -mtriple=x86_64-linux-gnu")
    shape = [int(size) for size in out.shape]
    result = tvm.nd.array(np.zeros(shape, str(out.dtype)))
    built(*map(tvm.nd.array, arrays), result)
    return result.numpy()


@inside("relay")
def test_dense_multiplies_by_the_transposed_weights_and_adds_the_bias() -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3), (5, 3), (5,)))
    np.testing.assert_allclose(computed(product(), x, w), x @ w.T, rtol=1e-5)
    np.testing.assert_allclose(computed(product(bias=True), x, w, b), x @ w.T + b, rtol=1e-5)
    wide = computed(product(out_dtype="float64"), x, w)
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide, x.astype(np.float64) @ w.T.astype(np.float64), rtol=1e-12)


@inside("relay")
def test_dense_s_axes_are_what_the_rewrite_looks_for() -> None:
    *_, out = product()
    assert [axis.var.name for axis in out.op.axis] == ["i", "j"]
    assert [str(tensor) for tensor in out.op.attrs["layout_free_placeholders"]] != []
    assert out.op.tag == "dense"


@inside("relay")
def test_dense_of_rewritten_weights_has_their_sizes() -> None:
    """Two blocks of four outputs, each by inputs: 8 outputs in all."""
    layout = "2j3k4j"
    x = te.placeholder((2, 3), name="x")
    w = te.placeholder((2, 3, 4), name="w")
    out = topi.nn.dense(x, w, auto_scheduler_rewritten_layout=layout)
    assert [int(size) for size in out.shape] == [2, 8]


@inside("relay")
def test_other_shapes_go_to_upstream_s_dense() -> None:
    import sys

    upstream = sys.modules["tvm.topi.nn.dense"]
    calls: list[Any] = []
    upstream.matmul = lambda *given, **named: calls.append(len(given[0].shape)) or "upstream"
    x, w = te.placeholder((2, 4, 3), name="x"), te.placeholder((5, 3), name="w")
    assert topi.nn.dense(x, w) == "upstream"
    flat = te.placeholder((2, 3), name="x")
    assert topi.nn.dense(flat, w, meta_schedule_original_shape=[5, 3]) == "upstream"
    assert calls == [3, 2]


@inside("relay")
def test_a_scale_before_a_product_stays_and_one_behind_it_is_folded() -> None:
    def folded(before: bool) -> Any:
        x = relay.var("x", shape=(1, 8, 8, 4))
        weight = relay.const(np.ones((3, 3, 4, 4), np.float32))
        layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
        scale = relay.const(np.full(4, 2, np.float32))
        y = relay.multiply(x, scale) if before else x
        y = relay.nn.conv2d(y, weight, padding=1, channels=4, **layouts)
        y = y if before else relay.multiply(y, scale)
        mod = relay.transform.InferType()(tvm.IRModule.from_expr(y))
        with tvm.transform.PassContext(opt_level=3):
            mod = relay.transform.FoldConstant()(relay.transform.FoldScaleAxis()(mod))
        names: list[str] = []

        def visit(expr: Any) -> None:
            if isinstance(expr, relay.Call):
                names.append(expr.op.name)

        relay.analysis.post_order_visit(mod["main"], visit)
        return names

    assert folded(before=False) == ["nn.conv2d"]
    assert folded(before=True) == ["multiply", "nn.conv2d"]
