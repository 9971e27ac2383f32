"""A model cut into parts for another engine: the parts and the rest compute what the whole does."""

from __future__ import annotations

from typing import Any

import models
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tvmkd.export.handover import OPERATOR, Fact, changing, cut, facts, positions


def chain(*nodes: onnx.NodeProto, output: str = "y", shape: Any = None) -> onnx.ModelProto:
    return models.model(
        list(nodes), [models.value("x", shape=[4])], [models.value(output, shape=shape or [4])]
    )


def run(model: onnx.ModelProto, parts: list[Any], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Runs what is left node by node, and each part where its node stands."""
    known = {**feed, **{t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}}
    for node in model.graph.node:
        if node.op_type == OPERATOR:
            part = parts[node.attribute[0].i]
            found = ReferenceEvaluator(onnx.load_from_string(part.model)).run(
                None, {name: known[name] for name in part.inputs}
            )
        else:
            found = ReferenceEvaluator(node).run(None, {n: known[n] for n in node.input if n})
        known.update(zip(node.output, found, strict=True))
    return [known[entry.name] for entry in model.graph.output]


@pytest.mark.parametrize("seed", range(12))
def test_any_choice_of_nodes_leaves_a_model_that_computes_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names, nodes = ["x", "w"], []
    for number in range(14):
        left, right = (str(name) for name in rng.choice(names[-6:], 2))
        nodes.append(
            models.node(str(rng.choice(["Add", "Sub", "Max"])), f"{left} {right}", f"t{number}")
        )
        names.append(f"t{number}")
    model = models.model(
        nodes, [models.value("x", shape=[4])],
        [models.value(name, shape=[4]) for name in ("t13", "t9", "t4")], w=np.ones(4, np.float32),
    )  # fmt: skip
    picked = {int(at) for at in rng.choice(14, rng.integers(1, 9), replace=False)}
    left, parts = cut(model, picked, facts(model))
    kept = [node.op_type for node in left.graph.node]
    assert kept.count(OPERATOR) == len(parts) >= 1
    assert len(kept) - len(parts) == 14 - len(picked)
    assert sum(sum(part.operators.values()) for part in parts) == len(picked)
    feed = {"x": rng.standard_normal(4).astype(np.float32)}
    for got, want in zip(
        run(left, parts, feed), ReferenceEvaluator(model).run(None, feed), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_neighbours_are_one_part_and_parts_that_wait_for_each_other_are_two() -> None:
    model = chain(
        models.node("Relu", "x", "a"), models.node("Exp", "a", "b"), models.node("Neg", "b", "c"),
        models.node("Exp", "c", "d"), models.node("Add", "d a", "y"),
    )  # fmt: skip
    known = facts(model)
    _, parts = cut(model, {1, 2}, known)
    assert [part.operators for part in parts] == [{"Exp": 1, "Neg": 1}]
    assert (parts[0].inputs, list(parts[0].outputs)) == (("a",), ["c"])
    left, parts = cut(model, {1, 3}, known)
    assert [part.inputs for part in parts] == [("a",), ("c",)]
    assert [node.op_type for node in left.graph.node] == ["Relu", OPERATOR, "Neg", OPERATOR, "Add"]


def test_all_that_follows_a_shape_that_depends_on_the_data_goes_with_it() -> None:
    model = chain(
        models.node("Relu", "x", "a"), models.node("NonZero", "a", "b"),
        models.node("Cast", "b", "c", to=1), models.node("ReduceSum", "c", "d", keepdims=0),
        models.node("Add", "d a", "y"),
    )  # fmt: skip
    known = facts(model)
    assert known["b"] == Fact("int64", (1, None))
    assert known["d"] == Fact("float32", ())
    assert changing(model, known) == {1, 2}
    left, parts = cut(model, {1}, known)
    # The shape of the sum is fixed, so the nodes after it stay with the compiler.
    assert [node.op_type for node in left.graph.node] == ["Relu", OPERATOR, "Add"]
    assert parts[0].outputs == {"d": Fact("float32", ())}
    whole, parts = cut(model, {3}, known)
    assert parts[0].operators == {"NonZero": 1, "Cast": 1, "ReduceSum": 1}
    assert [node.op_type for node in whole.graph.node] == ["Relu", OPERATOR, "Add"]


def test_both_ends_of_a_sequence_go_together() -> None:
    model = chain(
        models.node("Neg", "x", "a"), models.node("SplitToSequence", "a", "s"),
        models.node("ConcatFromSequence", "s", "b", axis=0), models.node("Relu", "b", "y"),
    )  # fmt: skip
    known = facts(model)
    assert "s" not in known
    assert known["b"].shape is None
    for at in (1, 2):
        left, parts = cut(model, {at}, known)
        assert list(parts[0].operators) == ["SplitToSequence", "ConcatFromSequence", "Relu"]
        assert [node.op_type for node in left.graph.node] == ["Neg", OPERATOR]


def test_a_part_has_its_weights_and_constants_and_no_others() -> None:
    one = onnx.numpy_helper.from_array(np.ones(4, np.float32))
    model = models.model(
        [
            models.node("Constant", "", "k", value=one), models.node("Add", "x k", "a"),
            models.node("Mul", "a w", "b"), models.node("Add", "b k", "y"),
        ],
        [models.value("x", shape=[4])], [models.value("y", shape=[4])],
        w=np.full(4, 2, np.float32), v=np.zeros(4, np.float32),
    )  # fmt: skip
    left, (part,) = cut(model, {2, 3}, facts(model))
    made = onnx.load_from_string(part.model)
    assert part.inputs == ("a",)
    assert part.operators == {"Mul": 1, "Add": 1}
    assert [tensor.name for tensor in made.graph.initializer] == ["w"]
    assert [node.op_type for node in made.graph.node] == ["Constant", "Mul", "Add"]
    assert not left.graph.initializer
    assert [node.op_type for node in left.graph.node] == ["Constant", "Add", OPERATOR]
    left, _ = cut(model, {1, 2, 3}, facts(model))
    assert [node.op_type for node in left.graph.node] == [OPERATOR]


def test_a_branch_that_holds_such_a_node_is_handed_over_whole() -> None:
    inner = onnx.helper.make_graph(
        [models.node("NonZero", "x", "n"), models.node("Cast", "n", "out", to=1)],
        "then", [], [models.value("out")],
    )  # fmt: skip
    other = onnx.helper.make_graph([models.node("Neg", "x", "o")], "else", [], [models.value("o")])
    model = models.model(
        [
            models.node("Relu", "x", "a"),
            models.node("If", "flag", "y", then_branch=inner, else_branch=other),
        ],
        [models.value("x", shape=[4]), models.value("flag", models.BOOL, [])],
        [models.value("y", shape=[None, None])],
    )  # fmt: skip
    why = positions(model, lambda node: "not there" if node.op_type == "NonZero" else "")
    assert why == {1: "not there"}
    known = facts(model)
    # The branches give one axis and two: ONNX Runtime knows no shape, which is no scalar.
    assert known["y"] == Fact("float32", None)
    _, (part,) = cut(model, why, known)
    assert set(part.inputs) == {"flag", "x"}
    assert positions(model, lambda node: "") == {}
