"""Sums of half-precision numbers: exact where float16 arithmetic stops counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from in_tvm import INSIDE, inside
from onnx import helper, numpy_helper

if INSIDE:
    import tvm
    from relax_graphs import run

    from tvmkd.stacks.relax import importer
    from tvmkd.stacks.relax.accumulate import is_half, sums_in_float32


def half_model(path: Path, nodes: list[onnx.NodeProto], shape: list[int], **weights) -> Path:
    """A float16 model from ``x`` to ``y``; weights by name."""
    kind = onnx.TensorProto.FLOAT16
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def lowered(path: Path):
    target = tvm.target.Target({"kind": "llvm"})
    return importer.fuse(importer.read(path).mod, target), target


LONG = 4096  # float16 has 11 bits: 2048 + 1 is 2048


@inside("relax")
def test_4096_ones_add_up_to_4096(tmp_path: Path) -> None:
    ones = np.ones((LONG, 1), np.float16)
    kernel = np.ones((1, LONG // 16, 4, 4), np.float16)
    cases = {
        "MatMul": (helper.make_node("MatMul", ["x", "w"], ["y"]), [1, LONG], ones),
        "Conv": (helper.make_node("Conv", ["x", "w"], ["y"]), [1, LONG // 16, 4, 4], kernel),
        "ReduceSum": (helper.make_node("ReduceSum", ["x"], ["y"]), [1, LONG], None),
    }
    for name, (node, shape, weight) in cases.items():
        weights = {} if weight is None else {"w": weight}
        mod, target = lowered(half_model(tmp_path / f"{name}.onnx", [node], shape, **weights))
        (got,) = run(mod, [np.ones(shape, np.float16)], target)
        assert (got.dtype, got.ravel().tolist()) == (np.float16, [LONG]), name


@inside("relax")
def test_means_and_softmax_of_large_values_stay_finite(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 100, (1, 4, 56, 56)).astype(np.float16)
    mean = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    mod, target = lowered(half_model(tmp_path / "m.onnx", [mean], list(x.shape)))
    (got,) = run(mod, [x], target)
    np.testing.assert_allclose(got, x.mean((2, 3), np.float64, keepdims=True), rtol=1e-3)
    scores = rng.standard_normal((1, 8192)).astype(np.float16)
    softmax = helper.make_node("Softmax", ["x"], ["y"], axis=-1)
    mod, target = lowered(half_model(tmp_path / "s.onnx", [softmax], [1, 8192]))
    (got,) = run(mod, [scores], target)
    assert got.sum(dtype=np.float64) == pytest.approx(1.0, abs=2e-3)


@inside("relax")
def test_a_batch_norm_after_a_convolution_keeps_its_weights_dtype(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 3, 1, 1)).astype(np.float16)
    scale, shift, mean = (rng.standard_normal(4).astype(np.float16) for _ in range(3))
    var = rng.uniform(0.5, 1.5, 4).astype(np.float16)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"]),
    ]
    path = half_model(
        tmp_path / "b.onnx", nodes, [1, 3, 4, 4], w=w, s=scale, b=shift, m=mean, v=var
    )
    x = rng.standard_normal((1, 3, 4, 4)).astype(np.float16)
    mod, target = lowered(path)
    (got,) = run(mod, [x], target)
    conv = np.einsum("nchw,oc->nohw", x.astype(np.float64), w[:, :, 0, 0].astype(np.float64))
    s, b, m, v = (each.astype(np.float64)[:, None, None] for each in (scale, shift, mean, var))
    wanted = (conv - m) / np.sqrt(v + 1e-5) * s + b
    np.testing.assert_allclose(got, wanted, atol=5e-3 * np.abs(wanted).max())


@inside("relax")
def test_a_float32_module_stays_as_it_is(tmp_path: Path) -> None:
    import graphs

    mod = importer.read(graphs.separable(tmp_path / "m.onnx")).mod
    assert not is_half(mod)
    assert sums_in_float32(mod).same_as(mod)
