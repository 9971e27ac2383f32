"""Helpers that add one plain operator, in the form that the opset of the node has."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from rewriting import site

from tvmkd.export.rewrites import plain


def at(target: int = 17):
    node = site(helper.make_node("Op", ["x"], ["y", "z"]), [2, 3])
    node.scope = node.scope.__class__(**{**vars(node.scope), "target": target})
    return node


@pytest.mark.parametrize(
    ("kind", "target", "count"), [("Max", 17, 1), ("Max", 18, 2), ("Sum", 17, 2)]
)
def test_the_axes_of_a_reduction_are_where_the_opset_has_them(kind, target, count):
    node = at(target)
    assert node.sizes_of(plain.reduce(node, kind, "x", [1], keepdims=False)) == (2,)
    assert len(node.before[-1].input) == count


def test_nothing_is_done_where_there_is_nothing_to_do():
    node = at()
    assert plain.cast(node, "x", TensorProto.FLOAT) == "x"
    assert plain.concat(node, ["x"], 0) == "x"
    assert plain.parts(node, "x", 0, [2]) == ["x"]
    assert node.before == []


def test_outputs_that_are_not_asked_for_are_left_out():
    node = at()
    node.node.output[0] = ""
    plain.give(node, "a", "b")
    assert node.before == []
    assert (node.node.op_type, *node.node.input, *node.node.output) == ("Identity", "b", "z")


def test_a_constant_has_the_type_of_another_tensor():
    node = at()
    name = plain.constant_like(node, np.arange(3), "x")
    assert node.elem_type_of(name) == TensorProto.FLOAT
    assert plain.constant_like(node, np.arange(3), "x") == name
