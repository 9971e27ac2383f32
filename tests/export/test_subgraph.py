from __future__ import annotations

import models
import numpy as np
import onnx
import onnxruntime

from tvmkd.export.subgraph import ancestors, prefix, reads


def branching() -> onnx.ModelProto:
    """``c = x + w``, a branch that reads ``c`` and ``v``, and a node beside it."""
    inner = onnx.helper.make_graph(
        [models.node("Mul", "c v", "inside"), models.node("Neg", "inside", "out")],
        "then",
        [],
        [models.value("out")],
    )
    other = onnx.helper.make_graph(
        [models.node("Identity", "c", "same")], "else", [], [models.value("same")]
    )
    return models.model(
        [
            models.node("Add", "x w", "c"),
            models.node("Relu", "u", "beside"),
            models.node("If", "flag", "y", then_branch=inner, else_branch=other),
        ],
        [models.value("x", shape=[2]), models.value("u", shape=[2]),
         models.value("flag", models.BOOL, [])],
        [models.value("y", shape=[2]), models.value("beside", shape=[2])],
        w=np.ones(2, np.float32), v=np.full(2, 3, np.float32), unused=np.zeros(9, np.float32),
    )  # fmt: skip


def test_a_node_reads_what_its_branches_read_from_outside() -> None:
    assert set(reads(branching().graph.node[2])) == {"flag", "c", "v"}


def test_the_ancestors_are_in_order_and_no_more_than_needed() -> None:
    graph = branching().graph
    assert ancestors(graph, ["y"]) == [0, 2]
    assert ancestors(graph, ["beside"]) == [1]
    assert ancestors(graph, ["x"]) == []


def test_a_prefix_computes_its_outputs_with_only_what_they_need() -> None:
    model = branching()
    part = prefix(model, [model.graph.output[0]])
    assert [node.op_type for node in part.graph.node] == ["Add", "If"]
    assert {entry.name for entry in part.graph.input} == {"x", "flag"}
    assert {entry.name for entry in part.graph.initializer} == {"w", "v"}
    session = onnxruntime.InferenceSession(part.SerializeToString())
    feed = {"x": np.ones(2, np.float32), "flag": np.array(True)}
    np.testing.assert_array_equal(session.run(None, feed)[0], [-6, -6])
    kept = prefix(model, [model.graph.output[0]], given=["u"])
    assert {entry.name for entry in kept.graph.input} == {"x", "u", "flag"}
    assert len(model.graph.node) == 3
