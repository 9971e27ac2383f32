"""Operators in training mode and random ones are found, and no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvmkd.export.training import without_fixed_result


def model(operator: str, *inputs: str, **attributes: Any) -> onnx.ModelProto:
    constants = {"on": True, "off": False, "half": np.float32(0.5), "none": np.float32(0)}
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, ["y"], name="n", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (model("Dropout", "x", "half", "on"), 'Dropout (node "n") is in training mode'),
        (model("Dropout", "x", "", "on"), "model.eval()"),
        (model("BatchNormalization", "x", training_mode=1), "BatchNormalization"),
        (model("RandomNormalLike", "x"), "draws random numbers"),
    ],
)
def test_what_changes_is_named(made: onnx.ModelProto, text: str) -> None:
    found = without_fixed_result(made)
    assert found is not None
    assert text in found
    assert "\n" not in found


@pytest.mark.parametrize(
    "made",
    [
        model("Dropout", "x"),
        model("Dropout", "x", "half", "off"),
        model("Dropout", "x", "none", "on"),
        model("Dropout", "x", "half", "computed"),
        model("BatchNormalization", "x", training_mode=0),
        model("BatchNormalization", "x"),
        model("Relu", "x"),
    ],
)
def test_inference_is_left_alone(made: onnx.ModelProto) -> None:
    assert without_fixed_result(made) is None
