"""Models of one LSTM, GRU or RNN."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, FEATURES, HIDDEN = 4, 2, 3, 5


def model(
    kind: str,
    *,
    direction: str = "forward",
    given: str = "",
    fed: str = "",
    sizes: tuple[int, int, int, int] = (STEPS, BATCH, FEATURES, HIDDEN),
    **attributes: Any,
) -> onnx.ModelProto:
    """One node; ``given`` names its optional inputs of B, lens, h, c and P (lens: 3 and 2).

    Args:
        fed: weights and states that are inputs of the model.
        sizes: steps, batch, features and hidden units.
    """
    steps, batch, features, hidden = sizes
    rng = np.random.default_rng(1)
    count = 2 if direction == "bidirectional" else 1
    gates = GATES[kind]
    first = attributes.get("layout", 0)
    state = [batch, count, hidden] if first else [count, batch, hidden]
    shapes = {
        "W": [count, gates * hidden, features],
        "R": [count, gates * hidden, hidden],
        "B": [count, 2 * gates * hidden],
        "h": state,
        "c": state,
        "P": [count, 3 * hidden],
    }
    values = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    values["lens"] = np.array([3, 2], np.int32)
    order = ["W", "R", "B", "lens", "h", *(["c", "P"] if kind == "LSTM" else [])]
    used = {"W", "R", *given.split(), *fed.split()}
    outputs = ["y", "y_h", *(["y_c"] if kind == "LSTM" else [])]
    node = helper.make_node(
        kind,
        ["x", *(name if name in used else "" for name in order)],
        outputs,
        hidden_size=hidden,
        direction=direction,
        **attributes,
    )
    shape = [batch, steps, features] if first else [steps, batch, features]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    inputs += [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in fed.split()
    ]
    constant = sorted(used - {*fed.split()})
    weights = [numpy_helper.from_array(values[name], name) for name in constant]
    graph = helper.make_graph(
        [node],
        "net",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
