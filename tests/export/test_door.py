"""Which ONNX files the door accepts, and the errors for the others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import models
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import convolution, save

from tvmkd.base.agreement import Output, compare
from tvmkd.base.errors import InputError
from tvmkd.export import door, weights
from tvmkd.export.door import admit
from tvmkd.export.normalise import normalise


def halves(batch: int | str = "n", output: list[int | str] | None = None) -> onnx.ModelProto:
    """The first half of the columns of x, by sizes that the graph computes."""
    numbers = {"one": 1, "two": 2, "zero": 0}
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "one"], ["w"]),
            helper.make_node("Div", ["w", "two"], ["h"]),
            helper.make_node("Slice", ["x", "zero", "h", "one"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(np.array([v], np.int64), k) for k, v in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_a_plain_file_is_compiled_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "open_session", None)
    info = admit(save(convolution(), tmp_path / "m.onnx"), None, tmp_path)
    assert info.normalised is None
    assert info.compiled == info.path == tmp_path / "m.onnx"


def test_computed_sizes_are_folded_and_outputs_get_their_shapes(tmp_path: Path) -> None:
    path = save(halves(), tmp_path / "m.onnx")
    work = tmp_path / "work"
    work.mkdir()
    info = admit(path, {"n": 2}, work)
    assert info.path == path
    assert info.compiled == work / door.NAME
    assert info.outputs[0].shape == (2, 3)
    assert info.steps == ("constants and fixed shapes folded",)
    normalised = onnx.load(str(info.compiled))
    assert [node.op_type for node in normalised.graph.node] == ["Slice"]
    sizes = [dim.dim_value for dim in normalised.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == [2, 6]
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    found = onnxruntime.InferenceSession(str(info.compiled)).run(None, {"x": x})
    np.testing.assert_array_equal(found[0], x[:, :3])


def test_a_step_that_changes_the_outputs_is_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: onnx.ModelProto) -> onnx.ModelProto:
        result = onnx.ModelProto()
        result.CopyFrom(model)
        next(t for t in result.graph.initializer if t.name == "two").raw_data = b"\3" + b"\0" * 7
        return result

    steps = {"wrong": wrong}
    monkeypatch.setattr(door, "normalise", lambda m, same, _: normalise(m, same, steps))
    info = admit(save(halves(2), tmp_path / "m.onnx"), None, tmp_path)
    assert not info.steps
    assert set(info.left_out) == {"wrong"}
    assert "has shape [2, 2]" in info.left_out["wrong"]


def large(right: bool) -> onnx.ModelProto:
    nodes = [models.node("Min", "x most", "y")]
    return models.model(
        nodes, [models.value("x", shape=[1, 50])], [models.value("y", shape=[1, 50])],
        most=np.float32(1e9 if right else 8),
    )  # fmt: skip


def indexed(right: bool) -> onnx.ModelProto:
    table = np.arange(40, dtype=np.float32).reshape(20, 2)
    table[2:] *= right
    return models.model(
        [models.node("Gather", "t ids", "y")],
        [models.value("ids", models.INT64, [1, 6])],
        [models.value("y", shape=[1, 6, 2])],
        t=table,
    )


def wide(right: bool) -> onnx.ModelProto:
    kind = TensorProto.INT32 if right else TensorProto.UINT8
    ints = [models.value(name, TensorProto.INT32, [1, 50]) for name in "xy"]
    nodes = [models.node("Cast", "x", "c", to=kind), models.node("Cast", "c", "y", to=6)]
    return models.model(nodes, ints[:1], ints[1:])


def branching(right: bool) -> onnx.ModelProto:
    bodies = [
        helper.make_graph([models.node(kind, "x", kind)], kind, [], [models.value(kind, 1, [1, 8])])
        for kind in ("Identity", "Neg" if right else "Abs")
    ]
    nodes = [
        models.node("ReduceMean", "x", "m", keepdims=0),
        models.node("Less", "m most", "c"),
        models.node("If", "c", "y", then_branch=bodies[0], else_branch=bodies[1]),
    ]
    tensors = [models.value(name, shape=[1, 8]) for name in "xy"]
    return models.model(nodes, tensors[:1], tensors[1:], most=np.float32(-6))


@pytest.mark.parametrize("make", [large, indexed, wide, branching])
def test_a_step_that_is_wrong_for_some_values_only_is_left_out(
    make: Callable[[bool], onnx.ModelProto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For large ones, indices above 1, negative integers; in a branch that few inputs take."""
    steps = {"right": lambda _: make(True), "wrong": lambda _: make(False)}
    monkeypatch.setattr(door, "normalise", lambda m, same, _: normalise(m, same, steps))
    info = admit(save(make(True), tmp_path / "m.onnx"), None, tmp_path)
    assert info.steps == ("right",)
    assert set(info.left_out) == {"wrong"}
    assert onnx.load(info.compiled).graph == make(True).graph


ONE = np.linspace(0, 1, 64, dtype=np.float32)


@pytest.mark.parametrize(
    ("want", "got", "reason"),
    [
        (ONE, ONE.astype(np.float64), "float64.*gives float32"),
        (ONE, ONE[None], r"shape \[1, 64\].* gives \[64\]"),
        (ONE, None, "missing"),
        (ONE, ONE + np.float32(1.2e-4), "differs by 0.00012"),
        (ONE, ONE + np.float32(8e-5), ""),
        (ONE.astype(np.float64), ONE.astype(np.float64) + 1.2e-9, "differs by"),
        (ONE.astype(np.float64), ONE.astype(np.float64) + 8e-10, ""),
        (ONE, np.where(ONE == 1, np.nan, ONE), "is nan"),
        (np.where(ONE == 1, np.nan, ONE), np.where(ONE == 1, np.nan, ONE), ""),
        (ONE + 1000, ONE + np.float32(1000.01), "differs by"),
        (np.array([3, 4], np.uint8), np.array([3, 5], np.uint8), "1 of 2 integers"),
    ],
)
def test_what_a_normalised_model_may_be_off(
    want: np.ndarray, got: np.ndarray | None, reason: str
) -> None:
    output = door._exact(Output("y", [[want]], 1.0, steps=1, more=True))
    verdict = compare([output], {} if got is None else {"0.0": got})
    assert verdict.agrees is not bool(reason)
    assert re.search(reason, verdict.reason)


def test_behind_a_quantiser_a_rounding_may_tip_over_where_it_does_in_another_run() -> None:
    tipped, wrong = ONE.copy(), ONE.copy()
    tipped[20] += np.float32(4e-3)
    wrong[30] += np.float32(8e-3)
    runs = Output("y", [[ONE]], 5e-2, channels=False, more=True)
    assert not compare([door._exact(runs)], {"0.0": tipped}).agrees
    runs = Output("y", [[ONE, tipped]], 5e-2, channels=False)
    assert compare([door._exact(runs)], {"0.0": 0.9 * np.roll(tipped - ONE, 1) + ONE}).agrees
    assert not compare([door._exact(runs)], {"0.0": wrong}).agrees


def test_each_file_is_opened_once(tmp_path: Path, counted: list[str]) -> None:
    admit(save(convolution(), tmp_path / "plain.onnx"), None, tmp_path)
    assert counted == []
    # Folded (in a session that writes and never runs), then both compared.
    info = admit(save(halves(2), tmp_path / "sizes.onnx"), None, tmp_path)
    assert info.steps == ("constants and fixed shapes folded",)
    assert counted == ["bytes", "sizes.onnx", door.NAME]
    counted.clear()
    model = convolution()
    model.graph.node.insert(0, helper.make_node("Identity", ["kernel"], ["copy"]))
    model.graph.node[1].input[1] = "copy"
    info = admit(save(model, tmp_path / "copies.onnx"), None, tmp_path)
    assert info.steps == ("weights read under one name",)
    assert len(onnx.load(info.compiled).graph.node) == 2
    assert counted == []


def test_a_new_operator_set_is_tried_without_the_large_weights(
    tmp_path: Path, counted: list[str]
) -> None:
    model = models.model(
        [models.node("MatMul", "x w", "y")],
        [models.value("x", shape=[1, 64])],
        [models.value("y", shape=[1, 64])],
        w=np.ones((64, 64), np.float32),
    )
    model.opset_import[0].version = 22
    assert admit(save(model, tmp_path / "m.onnx"), None, tmp_path).steps == ()
    assert counted == ["bytes"]


def test_sizes_are_written_even_where_nothing_is_normalised(tmp_path: Path) -> None:
    info = admit(save(convolution(batch="b"), tmp_path / "m.onnx"), {"b": 3}, tmp_path)
    assert not info.steps
    dim = onnx.load(str(info.compiled)).graph.input[0].type.tensor_type.shape.dim[0]
    assert dim.dim_value == 3


def test_external_weights_behind_links_come_inside(tmp_path: Path) -> None:
    blobs, shown, work = (tmp_path / name for name in ("blobs", "shown", "work"))
    for folder in (blobs, shown, work):
        folder.mkdir()
    save(convolution(), blobs / "m.onnx", external=True)
    for name in ("m.onnx", "m.onnx.data"):
        (shown / name).symlink_to(blobs / name)
    info = admit(shown / "m.onnx", None, work)
    inside = onnx.load(str(info.compiled), load_external_data=False)
    plain = onnx.load(str(blobs / "m.onnx"))
    for tensor, wanted in zip(inside.graph.initializer, plain.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(wanted))


def test_real_inputs_are_used_where_onnx_runtime_takes_no_drawn_ones(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["" : 18]>
        g (float[1, 9, 4] b, float[1, 1, 9] s, float iou) => (float[K, 3] y) {
            m = Constant<value = int64 {5}>()
            h = Constant<value = float {100.0}>()
            t = Add(iou, h)
            i = NonMaxSuppression(b, s, m, t)
            y = Cast<to = 1>(i)
        }"""
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    with pytest.raises(InputError, match=r"m\.onnx: .*iou_threshold.*give real ones with --inputs"):
        admit(path, None, tmp_path)
    rng = np.random.default_rng(0)
    real = {"b": rng.random((1, 9, 4)), "s": rng.random((1, 1, 9)), "iou": np.full(1, -99.5)}
    np.savez(tmp_path / "r.npz", **{name: v.astype(np.float32) for name, v in real.items()})
    info = admit(path, None, tmp_path, tmp_path / "r.npz")
    assert info.outputs[0].dtype == "float32"


def test_a_model_that_onnx_runtime_cannot_load_is_refused_in_one_line(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["k"], ["i"]), helper.make_node("Conv", ["x", "i"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [1, 1, 2, 2])],
        [numpy_helper.from_array(np.ones((1, 1, 3, 3)), "k")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = save(model, tmp_path / "m.onnx")
    with pytest.raises(InputError, match="ONNX Runtime cannot load it") as caught:
        admit(path, None, tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loop_that_never_ends_is_refused_after_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVMKD_BUILD_TIMEOUT", "0.3")
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["on"]),
            helper.make_node("Neg", ["state"], ["next"]),
        ],
        "body",
        [
            value("turn", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("state", TensorProto.FLOAT, [1, 4]),
        ],
        [value("on", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [1, 4])],
    )
    nodes = [
        helper.make_node("Size", ["x"], ["size"]),
        helper.make_node("Cast", ["size"], ["yes"], to=TensorProto.BOOL),
        helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body),
    ]
    tensors = [value(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "endless", tensors[:1], tensors[1:])
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"m\.onnx: .*ended after 0 s .* a loop in it may not end"):
        admit(tmp_path / "m.onnx", None, tmp_path)


def embedding() -> onnx.ModelProto:
    """The last third of an embedding, by sizes that the graph computes."""
    table = np.random.default_rng(0).standard_normal((300, 96)).astype(np.float32)
    nodes = [
        models.node("Gather", "table ids", "g"),
        models.node("Shape", "g", "s"),
        models.node("Gather", "s two", "w"),
        models.node("Div", "w three", "third"),
        models.node("Neg", "third", "start"),
        models.node("Slice", "g start end two", "y"),
    ]
    return models.model(
        nodes, [models.value("ids", models.INT64, [1, 5])], [models.value("y", shape=[1, 5, 32])],
        table=table, two=np.array([2]), three=np.array([3]), end=np.array([2**40]),
    )  # fmt: skip


def test_a_file_of_more_than_one_message_is_normalised_and_its_large_weights_stay_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_LARGEST", 1 << 16)
    shown, work = (tmp_path / name for name in ("shown", "work"))
    for folder in (shown, work):
        folder.mkdir()
    onnx.save(embedding(), shown / "m.onnx", save_as_external_data=True)
    info = admit(shown / "m.onnx", None, work)
    assert info.steps == ("constants and fixed shapes folded",)
    assert not info.left_out
    outside = onnx.load(info.compiled, load_external_data=False)
    assert [node.op_type for node in outside.graph.node] == ["Gather", "Slice"]
    assert [entry.name for entry in outside.graph.input] == ["ids"]
    assert info.compiled.stat().st_size < 5000
    inside = weights.load(info.compiled, info.path)
    ids = np.array([[0, 299, 7, 8, 9]])
    whole, normalised = (
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"ids": ids})[0]
        for model in (embedding(), inside)
    )
    np.testing.assert_array_equal(whole, normalised)


def test_a_file_whose_graph_alone_is_too_large_is_compiled_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_LARGEST", 100)
    info = admit(save(halves(2), tmp_path / "m.onnx"), None, tmp_path)
    assert (info.normalised, info.steps) == (None, ())
