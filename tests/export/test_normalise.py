"""Which steps of the normalisation are kept, and which need no comparison of outputs."""

from __future__ import annotations

from collections.abc import Callable

import models
import numpy as np
import onnx
import pytest
import recurrent_models
from rewriting import close, inputs, run

from tvmkd.export import normalise as normalising
from tvmkd.export.normalise import normalise


def marked(text: str) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    def step(model: onnx.ModelProto) -> onnx.ModelProto:
        return onnx.ModelProto(doc_string=model.doc_string + text)

    return step


def nothing(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


def failing(model: onnx.ModelProto) -> onnx.ModelProto:
    raise ValueError("no such thing\nmore")


def unless(bad: str) -> Callable[[onnx.ModelProto], str | None]:
    return lambda model: f"has {bad}" if bad in model.doc_string else None


def test_all_steps_are_done_and_checked_once() -> None:
    asked: list[str] = []

    def same(model: onnx.ModelProto) -> None:
        asked.append(model.doc_string)

    found = normalise(onnx.ModelProto(), same, {"a": marked("a"), "n": nothing, "b": marked("b")})
    assert found.model.doc_string == "ab"
    assert found.steps == ["a", "b"]
    assert asked == ["ab"]
    assert not found.left_out


def test_the_step_that_changes_the_outputs_is_left_out() -> None:
    steps = {"a": marked("a"), "b": marked("b"), "c": marked("c")}
    found = normalise(onnx.ModelProto(), unless("b"), steps)
    assert found.model.doc_string == "ac"
    assert found.steps == ["a", "c"]
    assert found.left_out == {"b": "has b"}


def test_a_step_that_fails_is_left_out() -> None:
    found = normalise(onnx.ModelProto(), unless("!"), {"a": failing, "b": marked("b")})
    assert found.model.doc_string == "b"
    assert found.left_out == {"a": "no such thing"}


def test_without_a_change_nothing_is_compared() -> None:
    model = onnx.ModelProto()

    def same(model: onnx.ModelProto) -> None:
        raise AssertionError

    assert normalise(model, same, {"n": nothing}).model is model


def test_inlining_leaves_a_model_without_functions_alone() -> None:
    model = onnx.ModelProto()
    assert normalising.inline(model) is model


def test_a_step_that_cannot_change_a_value_is_not_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(normalising, "EXACT", {"e"})
    assert normalise(onnx.ModelProto(), unless("e"), {"e": marked("e")}).steps == ["e"]
    found = normalise(onnx.ModelProto(), unless("b"), {"e": marked("e"), "b": marked("b")})
    assert (found.steps, found.left_out) == (["e"], {"b": "has b"})


def copies(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    return models.model(
        [
            models.node("Identity", "w", "first"),
            models.node("Identity", "first", "second"),
            models.node("Identity", "w", "shown"),
            models.node("Identity", "x", "kept"),
            *nodes,
        ],
        [models.value("x", shape=[3])],
        [models.value("y"), models.value("shown")],
        w=np.array([1, 2, 3], np.float32),
    )


def test_copies_of_weights_are_read_directly_and_the_rest_stays() -> None:
    model = copies(models.node("Sum", "kept second first", "y"))
    found = normalising.read_directly(model)
    assert [(node.op_type, *node.input) for node in found.graph.node] == [
        ("Identity", "w"), ("Identity", "x"), ("Sum", "kept", "w", "w"),
    ]  # fmt: skip
    assert len(model.graph.node) == 5
    assert normalising.read_directly(found) is found


def test_copies_that_the_body_of_a_branch_may_read_stay() -> None:
    body = onnx.helper.make_graph(
        [models.node("Neg", "second", "n")], "body", [], [models.value("n")]
    )
    branch = models.node("If", "x", "y", then_branch=body, else_branch=body)
    model = copies(branch)
    assert normalising.read_directly(model) is model


def test_recurrent_layers_stay_until_they_are_unrolled() -> None:
    layer = recurrent_models.model("GRU", given="B")
    reasons: dict[str, str] = {}
    plain = normalising.steps_for("a.onnx", reasons)["operators replaced by plain ones"]
    assert plain(layer) is layer
    result, left = normalising.unrolled(layer, "a.onnx")
    assert left == {}
    assert "GRU" not in {node.op_type for node in result.graph.node}
    assert normalising.unrolled(result, "a.onnx")[0] is result
    close(run(result, inputs(layer)), run(layer, inputs(layer)), 2e-6)


def test_why_a_layer_is_not_unrolled_is_said() -> None:
    long = recurrent_models.model("RNN", sizes=(513, 1, 1, 1))
    result, left = normalising.unrolled(long, "a.onnx")
    assert [node.op_type for node in result.graph.node] == ["RNN"]
    assert left == {"y": "RNN has 513 steps, more than 512"}


def test_layers_in_branches_are_found() -> None:
    layer = recurrent_models.model("RNN")
    assert not normalising.inside_bodies(layer)
    body = onnx.helper.make_graph(list(layer.graph.node), "body", [], [])
    branch = onnx.helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
    layer.graph.node.append(branch)
    assert normalising.inside_bodies(layer)
