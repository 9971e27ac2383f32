"""Operators that TVM's importer computes in another way than ONNX: as ONNX, after correction."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    from relax_graphs import operators, run

    from tvmkd.base.errors import InputError
    from tvmkd.stacks.relax import importer


@inside("relax")
def test_clip_is_one_operator_for_any_bounds(tmp_path: Path) -> None:
    x = np.array([[-3, -1, -0.5], [0.25, 1, 3]], np.float32)
    for low, high, name in (
        (-0.5, 1.0, "clip"),
        (-0.5, None, "maximum"),
        (None, 1.0, "minimum"),
        (None, None, None),
        (-np.inf, 1.0, "minimum"),
        (2.0, 1.0, "clip"),
    ):
        mod = importer.read(graphs.clipped(tmp_path / "m.onnx", low, high)).mod
        assert operators(mod) == ([name] if name else []), (low, high)
        wanted = np.clip(x, -np.inf if low is None else low, np.inf if high is None else high)
        np.testing.assert_array_equal(run(mod, [x])[0], wanted)


@inside("relax")
def test_softplus_is_one_kernel_and_exact_where_it_is_small(tmp_path: Path) -> None:
    x = np.concatenate([np.linspace(-100, 100, 4001), [0, -0.0, np.inf, -np.inf, np.nan]])
    x = x.astype(np.float32)
    g = graphs.Graph(len(x))
    g.add("Softplus")
    mod = importer.read(g.save(tmp_path / "m.onnx")).mod
    assert operators(mod) == ["softplus"]
    (found,) = run(mod, [x])
    finite = np.isfinite(x)
    wanted = np.logaddexp(0, x[finite].astype(np.float64))
    normal = wanted > np.finfo(np.float32).tiny
    np.testing.assert_allclose(found[finite][normal], wanted[normal], rtol=4e-7)
    np.testing.assert_array_equal(found[~finite], [np.inf, 0, np.nan])


@inside("relax")
def test_maxima_and_sums_go_pair_by_pair_and_keep_nan(tmp_path: Path) -> None:
    x = np.array([[1, np.nan, 2], [3, 5, 0]], np.float32)
    other = x.T.reshape(2, 3)
    for kind, wanted in (
        ("Max", np.maximum(other, x)),
        ("Min", np.minimum(other, x)),
        ("Sum", x + other),
        ("Mean", (x + other) / 2),
    ):
        g = graphs.Graph(2, 3)
        g.add("Transpose", perm=[1, 0])
        g.add("Reshape", g.weight(value=[2, 3]))
        g.add(kind, "x")
        mod = importer.read(g.save(tmp_path / "m.onnx")).mod
        assert not {"stack", "max", "min"} & set(operators(mod))
        np.testing.assert_allclose(run(mod, [x])[0], wanted, rtol=1e-6)


@inside("relax")
def test_types_and_sizes_that_tvm_cannot_have_are_refused(tmp_path: Path) -> None:
    g = graphs.Graph(2, 3)
    g.add("Cast", to=19)
    g.add("Cast", to=1)
    with pytest.raises(InputError, match="TVM does not compute with the type float8e5m2"):
        importer.read(g.save(tmp_path / "m.onnx"))


def imported(node: graphs.onnx.NodeProto, dtype: int, *shapes: list[int]):
    """One node, whose inputs are x0, x1, ..., by TVM's importer with the corrections."""
    from tvm.relax.frontend.onnx import onnx_frontend

    from tvmkd.stacks.relax.corrected_operators import CORRECTED

    make = graphs.helper.make_tensor_value_info
    graph = graphs.helper.make_graph(
        [node],
        "net",
        [make(f"x{at}", dtype, shape) for at, shape in enumerate(shapes)],
        [make("y", dtype, shapes[0])],
    )
    opsets = [graphs.helper.make_opsetid("", 26)]
    original = onnx_frontend._get_convert_map
    onnx_frontend._get_convert_map = lambda: {**original(), **CORRECTED}
    try:
        return onnx_frontend.from_onnx(graphs.helper.make_model(graph, opset_imports=opsets))
    finally:
        onnx_frontend._get_convert_map = original


@inside("relax")
def test_the_same_bits_as_another_type() -> None:
    node = graphs.helper.make_node("BitCast", ["x0"], ["y"], to=graphs.TensorProto.INT32)
    x = np.array([1.0, -2.5, np.inf], np.float32)
    mod = imported(node, graphs.TensorProto.FLOAT, [3])
    np.testing.assert_array_equal(run(mod, [x])[0], x.view(np.int32))


@inside("relax")
def test_shifts_by_computed_amounts() -> None:
    x = np.array([-8, 4, -1, 7], np.int32)
    by = np.array([32, 33, 1, 2], np.int32)
    for direction, wanted in (("LEFT", [0, 0, -2, 28]), ("RIGHT", [-1, 0, -1, 1])):
        node = graphs.helper.make_node("BitShift", ["x0", "x1"], ["y"], direction=direction)
        mod = imported(node, graphs.TensorProto.INT32, [4], [4])
        np.testing.assert_array_equal(run(mod, [x, by])[0], wanted)


INDEXED = {
    "Gather": ({"axis": 1}, [4, 2], False),
    "GatherElements": ({"axis": 1}, [3, 2], False),
    "GatherND": ({}, [4, 2], False),
    "ScatterElements": ({"axis": 1}, [3, 2], True),
    "ScatterND": ({}, [4, 2], True),
}


@pytest.mark.parametrize("kind", INDEXED)
@inside("relax")
def test_indices_out_of_range_stay_inside(kind: str, tmp_path: Path) -> None:
    """A kernel would read, or write, the memory beside the tensor; those in range are as ever."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    attributes, shape, writes = INDEXED[kind]
    updates = [4] if kind == "ScatterND" else shape
    values = [("x", TensorProto.FLOAT, [3, 5]), ("i", TensorProto.INT64, shape)]
    values += [("u", TensorProto.FLOAT, updates)] if writes else []
    node = helper.make_node(kind, [name for name, _, _ in values], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(*value) for value in values],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), tmp_path / "m.onnx")
    mod = importer.read(tmp_path / "m.onnx").mod
    rng = np.random.default_rng(0)
    x, u = rng.random((3, 5), np.float32), rng.random(updates, np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    right = rng.permuted(np.arange(-3, 3)[: shape[1]] + np.zeros(shape, int), axis=1)
    if kind == "ScatterND":  # no place twice
        right = np.array([[0, 1], [2, -1], [-2, 3], [1, 0]])
    for indices in (right, np.full(shape, 10**9), np.full(shape, -(10**9))):
        given = {"x": x, "i": indices.astype(np.int64), **({"u": u} if writes else {})}
        (found,) = run(mod, list(given.values()))
        if indices is right:
            np.testing.assert_array_equal(found, session.run(None, given)[0])
        else:
            assert np.isin(found, np.concatenate([x.ravel(), u.ravel()])).all()


@inside("relax")
def test_one_hot_has_nothing_at_an_index_out_of_range(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("OneHot", ["i", "depth", "values"], ["y"])],
        "g",
        [helper.make_tensor_value_info("i", TensorProto.INT64, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4])],
        [
            numpy_helper.from_array(np.array(4), "depth"),
            numpy_helper.from_array(np.array([0, 1], np.float32), "values"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    (found,) = run(importer.read(tmp_path / "m.onnx").mod, [np.array([1, 7, -1])])
    np.testing.assert_array_equal(found, [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
