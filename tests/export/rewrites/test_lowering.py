"""Operators of the registry are replaced, inside of branches and loops too; others stay."""

from __future__ import annotations

import onnxruntime
import pytest
from onnx import helper
from rewriting import kinds, text

from tvmkd.export.rewrites import lowering
from tvmkd.export.rewrites.lowering import lower
from tvmkd.export.site import Refused


@pytest.fixture
def registry(monkeypatch):
    found = {}
    monkeypatch.setattr(lowering, "LOWERINGS", found)
    return found


def test_new_nodes_are_lowered_in_turn_and_bodies_too(registry):
    registry["", "Mish"] = lambda site: site.become("Elu", [site.add("Selu", site.node.input)])
    registry["", "Selu"] = lambda site: site.become("Relu", site.node.input)
    model = text(
        """(float[2] x, bool c) => (float y, float z) {
            z = Mish(x)
            y = If(c) <then_branch = one () => (float p) { p = Mish(x) },
                       else_branch = other () => (float q) { q = Selu(x) }>
        }"""
    )
    result, reasons = lower(model, "a.onnx")
    assert sorted(kinds(result)) == ["Elu", "Elu", "If", "Relu", "Relu", "Relu"]
    assert reasons == {}
    assert kinds(model) == ["Mish", "If", "Mish", "Selu"]


def test_a_node_that_cannot_be_lowered_stays_with_its_reason(registry):
    def refuse(site):
        site.add("Neg", site.node.input)
        site.set("alpha", 2.0)
        raise Refused("has a spot")

    registry["", "Elu"] = refuse
    model = text("(float[2] x) => (float y) { y = Elu(x) }")
    result, reasons = lower(model, "a.onnx")
    assert reasons == {"y": "Elu has a spot"}
    assert list(result.graph.node) == list(model.graph.node)


def test_types_are_known_behind_an_operator_that_inference_does_not_know(registry):
    seen = []
    registry["com.example", "Twice"] = lambda site: site.become("Add", [*site.node.input] * 2)
    registry["", "Neg"] = lambda site: seen.append(site.sizes())
    model = text("(float[2, 3] x) => (float y) { t = Exp(x) y = Neg(t) }")
    model.graph.node[0].CopyFrom(helper.make_node("Twice", ["x"], ["t"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    result, _ = lower(model, "a.onnx")
    assert seen[0] == (2, 3)
    assert [entry.domain for entry in result.opset_import] == [""]


def test_a_model_that_needs_nothing_is_returned_and_unread_weights_are_dropped(registry):
    registry["", "Mish"] = lambda site: site.become("Elu", [site.node.input[0]])
    model = text("(float[2] x) => (float y) <float[2] w = {1, 2}> { y = Add(x, w) }")
    assert lower(model, "a.onnx")[0] is model
    model = text("(float[2] x) => (float y) <float[2] w = {1, 2}> { y = Mish(x, w) }")
    assert list(lower(model, "a.onnx")[0].graph.initializer) == []


def test_what_onnx_runtimes_optimiser_wrote_can_be_optimised_again(registry):
    """A file that ONNX Runtime has optimised, with a product of three axes and a sum in it now."""
    registry["", "Mish"] = lambda site: site.become(
        "Add", [site.add("MatMul", [site.node.input[0], "w"]), "b"]
    )
    body = """(float[2, 3, 4] x) => (float[2, 3, 4] y)
        <int64[2] gemm_input_shape = {6, 4}, int64[3] gemm_output_shape = {2, 3, 4},
         float[4, 4] w = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1},
         float[4] b = {1, 2, 3, 4}> {
            flat = Reshape(x, gemm_input_shape)
            same = Neg(flat)
            back = Reshape(same, gemm_output_shape)
            y = Mish(back)
        }"""
    result, _ = lower(text(body, 17, 8), "a.onnx")
    assert not any(t.name.startswith("gemm") for t in result.graph.initializer)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    onnxruntime.InferenceSession(result.SerializeToString(), options)


def test_nodes_that_are_to_stay_are_not_lowered(registry):
    registry["", "Mish"] = lambda site: site.become("Elu", site.node.input)
    model = text("(float[2] x) => (float y, float z) { y = Mish(x) z = Mish(y) }")
    result, _ = lower(model, "a.onnx", lambda site: site.node.output[0] == "y")
    assert kinds(result) == ["Mish", "Elu"]
