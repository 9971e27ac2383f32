"""Every node is visited once, with the types and constants of its own scope."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper
from rewriting import text

from tvmkd.base.errors import InputError
from tvmkd.export.site import Scope
from tvmkd.export.walk import all_names, inferred, rewrite


def branching():
    return text(
        """(float[2, 3] x, bool c) => (float y) {
            two = Constant<value = float {2}>()
            y = If(c) <then_branch = one () => (float p) { t = Mul(x, two) p = Exp(t) },
                       else_branch = other () => (float q) { q = Identity(x) }>
        }"""
    )


def test_bodies_see_what_is_outside_and_new_nodes_come_in_order():
    model, seen = branching(), {}

    def visit(node, scope):
        seen[node.output[0]] = (set(scope.constants), set(scope.types))
        if node.op_type == "Exp":
            fresh = scope.fresh("t")
            return [
                helper.make_node("Neg", ["t"], [fresh]),
                helper.make_node("Exp", [fresh], ["p"]),
            ]
        return [node]

    rewrite(model, Scope({}, {}, all_names(model.graph), 18, 18, {}), visit, "a.onnx")
    assert set(seen) == {"two", "y", "t", "p", "q"}
    assert seen["p"][0] == {"two"}
    assert {"x", "c", "t"} <= seen["p"][1]
    assert "t" not in seen["q"][1]
    then = model.graph.node[1].attribute[0].g
    assert [(node.op_type, list(node.input)) for node in then.node] == [
        ("Mul", ["x", "two"]),
        ("Neg", ["t"]),
        ("Exp", ["t_1"]),
    ]


def test_names_of_bodies_are_taken_too():
    assert {"x", "c", "two", "y", "t", "p", "q"} <= all_names(branching().graph)


def test_what_inference_says_is_one_line_with_the_file(monkeypatch):
    def fail(*_args, **_options):
        raise RuntimeError("[ShapeInferenceError]\n (2) and (3)")

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", fail)
    expected = (
        r"^a.onnx: its shapes contradict each other: \[ShapeInferenceError\] \(2\) and \(3\)$"
    )
    with pytest.raises(InputError, match=expected):
        inferred(branching(), "a.onnx")
    visited = []
    scope = Scope({}, {}, set(), 18, 18, {})

    def visit(node, _scope):
        visited.append(node.op_type)
        return [node]

    rewrite(branching(), scope, visit, "a.onnx", strict=False)
    assert "Exp" in visited
