"""LSTM, GRU and RNN of every form: the same outputs, step by step."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from lowered import left, same
from onnx import TensorProto, helper, numpy_helper

from tvmkd.export.rewrites import lower, recurrent

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, FEATURES, HIDDEN = 4, 2, 3, 5


def model(
    kind: str, *, direction: str = "forward", given: str = "", computed: str = "", **attributes
) -> onnx.ModelProto:
    """One node; ``given`` names its optional inputs of B, lens, h, c and P (lens: 3 and 2)."""
    rng = np.random.default_rng(1)
    count = 2 if direction == "bidirectional" else 1
    gates = GATES[kind]
    first = attributes.get("layout", 0)
    state = [BATCH, count, HIDDEN] if first else [count, BATCH, HIDDEN]
    shapes = {
        "W": [count, gates * HIDDEN, FEATURES],
        "R": [count, gates * HIDDEN, HIDDEN],
        "B": [count, 2 * gates * HIDDEN],
        "h": state,
        "c": state,
        "P": [count, 3 * HIDDEN],
    }
    values = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    values["lens"] = np.array([3, 2], np.int32)
    order = ["W", "R", "B", "lens", "h", *(["c", "P"] if kind == "LSTM" else [])]
    used = {"W", "R", *given.split()}
    outputs = ["y", "y_h", *(["y_c"] if kind == "LSTM" else [])]
    node = helper.make_node(
        kind,
        ["x", *(name if name in used else "" for name in order)],
        outputs,
        hidden_size=HIDDEN,
        direction=direction,
        **attributes,
    )
    shape = [BATCH, STEPS, FEATURES] if first else [STEPS, BATCH, FEATURES]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    weights = [numpy_helper.from_array(values[name], name) for name in sorted(used)]
    graph = helper.make_graph(
        [node],
        "net",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


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
