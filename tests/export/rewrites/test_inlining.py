"""Inlined nodes get new names; names of tensors outside of the body are kept or mapped."""

from __future__ import annotations

import onnx
from onnx import helper
from rewriting import site, text

from tvmkd.export.rewrites.inlining import bind_attributes, copies


def test_names_in_bodies_are_new_too():
    model = text(
        """(float[2] a, bool c) => (float r) {
            t = Exp(a)
            r = If(c) <then_branch = one () => (float p) { u = Neg(t) p = Add(u, outside) },
                       else_branch = other () => (float q) { q = Identity(a) }>
        }"""
    )
    known = {"a": "x", "c": "cond", "r": "y"}
    new = copies(site(helper.make_node("Op", ["x"], ["y"])), model.graph.node, known)
    assert known == {"a": "x", "c": "cond", "r": "y", "t": "y_t"}
    assert list(new[0].output) == ["y_t"]
    then = new[1].attribute[0].g
    assert [list(node.input) for node in then.node] == [["y_t"], ["y_u", "outside"]]
    assert then.output[0].name == then.node[1].output[0] == "y_p"
    assert model.graph.node[0].output[0] == "t"


def test_a_reference_to_an_absent_attribute_is_dropped():
    node = helper.make_node("Op", ["x"], ["y"])
    for name in ("axis", "mode"):
        node.attribute.append(
            onnx.AttributeProto(name=name, ref_attr_name=f"my_{name}", type="INT")
        )
    bind_attributes([node], {"my_axis": helper.make_attribute("my_axis", 3)})
    assert node == helper.make_node("Op", ["x"], ["y"], axis=3)
