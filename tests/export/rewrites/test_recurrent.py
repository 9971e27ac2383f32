"""LSTM, GRU and RNN of every form: the same outputs, step by step."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import left, same
from onnx import numpy_helper
from recurrent_models import BATCH, FEATURES, STEPS, model

from tvmkd.export.normalise import is_layer
from tvmkd.export.rewrites import lower, recurrent


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {}),
        ("LSTM", {"direction": "bidirectional", "given": "B h c P"}),
        ("LSTM", {"direction": "reverse", "given": "B lens c", "input_forget": 1, "clip": 0.4}),
        (
            "LSTM",
            {
                "given": "P B",
                "clip": 0.5,
                "activations": ["HardSigmoid", "ScaledTanh", "Elu"],
                "activation_alpha": [0.3, 1.1, 0.7],
                "activation_beta": [0.4, 0.9],
            },
        ),
        ("GRU", {"given": "B"}),
        ("GRU", {"direction": "bidirectional", "given": "B lens h", "linear_before_reset": 1}),
        ("GRU", {"direction": "reverse", "given": "h", "clip": 0.3}),
        (
            "RNN",
            {
                "direction": "bidirectional",
                "given": "B lens",
                "activations": ["Relu", "LeakyRelu"],
                "activation_alpha": [0.2],
            },
        ),
        (
            "RNN",
            {
                "given": "h",
                "activations": ["Affine"],
                "activation_alpha": [0.5],
                "activation_beta": [0.1],
            },
        ),
    ],
)
def test_every_form(kind, options):
    same(model(kind, **options), without=kind, tolerance=2e-6)


def test_the_batch_may_come_first():
    """ONNX Runtime has no such LSTM: the other layout, transposed, is the same."""
    from onnx.reference import ReferenceEvaluator

    first = model("LSTM", given="B h c", layout=1)
    x = np.random.default_rng(0).standard_normal((BATCH, STEPS, FEATURES)).astype(np.float32)
    lowered, reasons = lower(first, "a.onnx")
    assert reasons == {}
    plain = model("LSTM", given="B h c")
    for tensor in plain.graph.initializer:
        if tensor.name in {"h", "c"}:
            own = next(each for each in first.graph.initializer if each.name == tensor.name)
            turned = numpy_helper.to_array(own).transpose(1, 0, 2)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(turned), tensor.name))
    wanted = ReferenceEvaluator(plain).run(None, {"x": x.transpose(1, 0, 2)})
    got = ReferenceEvaluator(lowered).run(None, {"x": x})
    np.testing.assert_allclose(got[0], wanted[0].transpose(2, 0, 1, 3), atol=1e-6)
    np.testing.assert_allclose(got[1], wanted[1].transpose(1, 0, 2), atol=1e-6)
    np.testing.assert_allclose(got[2], wanted[2].transpose(1, 0, 2), atol=1e-6)


def test_outputs_that_nobody_asks_for_are_left_out():
    only = model("LSTM")
    only.graph.node[0].output[0] = ""
    del only.graph.output[0]
    result = same(only, without="LSTM")
    assert "Concat" not in {node.op_type for node in result.graph.node}


def test_more_steps_than_the_limit_and_unknown_activations_are_refused(monkeypatch):
    monkeypatch.setattr(recurrent, "MAX_STEPS", 3)
    assert left(model("RNN")) == {"y": "RNN has 4 steps, more than 3"}
    monkeypatch.undo()
    assert left(model("RNN", activations=["Swirl"])) == {"y": 'RNN has the activation "Swirl"'}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_the_usual_layer_stays_where_a_kernel_may_compute_it(kind):
    for options in ({}, {"given": "B h", "direction": "bidirectional"}):
        usual = model(kind, **options)
        result, reasons = lower(usual, "a.onnx", is_layer)
        assert result is usual
        assert reasons == {}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {"given": "P"}),
        ("LSTM", {"given": "lens"}),
        ("LSTM", {"clip": 0.5}),
        ("LSTM", {"input_forget": 1}),
        ("GRU", {"activations": ["Sigmoid", "Relu"]}),
        ("RNN", {"activations": ["Affine"], "activation_alpha": [0.5]}),
        ("RNN", {"activations": ["Relu", "Tanh"], "direction": "bidirectional"}),
        ("RNN", {"layout": 1}),
    ],
)
def test_other_layers_are_unrolled_all_the_same(kind, options):
    result, reasons = lower(model(kind, **options), "a.onnx", is_layer)
    assert reasons == {}
    assert kind not in {node.op_type for node in result.graph.node}


def test_a_layer_with_weights_that_are_computed_is_unrolled():
    result, _ = lower(model("RNN", fed="R"), "a.onnx", is_layer)
    assert "RNN" not in {node.op_type for node in result.graph.node}


def test_activations_may_be_named_in_any_case_and_sequences_be_whole():
    named = model("GRU", activations=["sigmoid", "TANH"], given="lens")
    (lengths,) = (each for each in named.graph.initializer if each.name == "lens")
    lengths.CopyFrom(numpy_helper.from_array(np.array([STEPS, STEPS], np.int32), "lens"))
    assert lower(named, "a.onnx", is_layer)[0] is named
