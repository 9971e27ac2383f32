"""An operator with a definition becomes that definition."""

from __future__ import annotations

import pytest
from lowered import same
from onnx import helper
from rewriting import site, text

from tvmkd.export.rewrites.function_bodies import function_body
from tvmkd.export.rewrites.registry import LOWERINGS
from tvmkd.export.site import Refused


@pytest.mark.parametrize("opset", [13, 22])
def test_attributes_and_their_defaults_are_put_in(opset):
    body = "(float[2, 3] x) => (float y, float z) { y = Celu<alpha = 2.0>(x) z = Celu(x) }"
    same(text(body, opset), without="Celu")


def test_an_operator_without_a_definition_is_refused():
    with pytest.raises(Refused, match="has no definition"):
        function_body(site(helper.make_node("Conv", ["x", "w"], ["y"])))


def test_a_definition_by_types_needs_them():
    with pytest.raises(Refused, match="type is not known"):
        function_body(site(helper.make_node("Clip", ["x", "low"], ["y"]), [2]))


def test_a_preview_operator_has_the_version_of_its_own_domain() -> None:
    node = helper.make_node("FlexAttention", ["x"] * 3, ["y"], domain="ai.onnx.preview")
    given = site(node, [1, 2, 3, 4])
    LOWERINGS["ai.onnx.preview", "FlexAttention"](given)
    made = [each.op_type for each in (*given.before, given.node)]
    assert made.count("MatMul") == 2
    assert "FlexAttention" not in made
