"""Small networks that every engine of another project has to get right."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tvmkd.bench.engines import create
from tvmkd.bench.engines.base import Engine, Inputs
from tvmkd.bench.spec import EngineSpec


def convolution(path: Path) -> tuple[Path, dict[str, np.ndarray], list[np.ndarray]]:
    """A convolution with SiLU, and the mean of each channel: the file, an input, both outputs."""
    from onnx import TensorProto, helper, numpy_helper, save

    dice = np.random.default_rng(0)
    weight = dice.standard_normal((4, 3, 1, 1)).astype(np.float32)
    x = dice.standard_normal((1, 3, 6, 5)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], ["h"], name="conv"),
            helper.make_node("Sigmoid", ["h"], ["s"], name="sigmoid"),
            helper.make_node("Mul", ["h", "s"], ["silu"], name="mul"),
            helper.make_node("GlobalAveragePool", ["silu"], ["mean"], name="pool"),
        ],
        "convolution",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 6, 5])],
        [
            helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["n", 4, 1, 1]),
            helper.make_tensor_value_info("silu", TensorProto.FLOAT, ["n", 4, 6, 5]),
        ],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save(made, path)
    h = np.einsum("nchw,kc->nkhw", x, weight[:, :, 0, 0])
    silu = h / (1 + np.exp(-h))
    return path, {"image": x}, [silu.mean((2, 3), keepdims=True), silu]


def unknown(path: Path) -> Path:
    """An operator of nobody."""
    from onnx import TensorProto, helper, save

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Foo", ["x"], ["y"], name="foo", domain="my.ops")],
        "unknown",
        [value("x", TensorProto.FLOAT, [1, 3])],
        [value("y", TensorProto.FLOAT, [1, 3])],
    )
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("my.ops", 1)]
    save(helper.make_model(graph, opset_imports=sets, ir_version=10), path)
    return path


def prepared(kind: str, path: Path, example: Inputs) -> Engine:
    """The engine on one thread, prepared."""
    engine = create(EngineSpec(kind, kind, path), threads=1)
    engine.prepare(example)
    return engine


def check(kind: str, folder: Path) -> Engine:
    """The engine gives both outputs, in the file's order; for each input anew."""
    path, inputs, wanted = convolution(folder / "convolution.onnx")
    engine = prepared(kind, path, inputs)
    call = engine.bind(inputs)
    first = engine.infer(inputs)
    for got, want in zip(first, wanted, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    zeros = {name: np.zeros_like(array) for name, array in inputs.items()}
    assert all(not output.any() for output in engine.infer(zeros))
    call()
    for got, want in zip(first, wanted, strict=True):  # no later call has written into them
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    return engine
