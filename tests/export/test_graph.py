from __future__ import annotations

import onnx
from onnx import TensorProto, helper
from onnx_files import convolution

from tvmkd.export.graph import graphs, missing, nodes, operators, unsupported


def branching(inner: str = "Neg") -> onnx.ModelProto:
    def body(kind: str) -> onnx.GraphProto:
        return helper.make_graph(
            [helper.make_node(kind, ["x"], [f"{kind}_out"], name=f"in_{kind}")],
            kind,
            [],
            [helper.make_tensor_value_info(f"{kind}_out", TensorProto.FLOAT, [2])],
        )

    graph = helper.make_graph(
        [
            helper.make_node(
                "If",
                ["which"],
                ["y"],
                name="fork",
                then_branch=body("Abs"),
                else_branch=body(inner),
            )
        ],
        "net",
        [
            helper.make_tensor_value_info("which", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def with_function() -> onnx.ModelProto:
    model = convolution(activation="Twice", domain="ours")
    model.functions.append(
        helper.make_function(
            "ours",
            "Twice",
            ["a"],
            ["b"],
            [helper.make_node("Add", ["a", "a"], ["b"], name="sum")],
            [helper.make_opsetid("", 18)],
        )
    )
    return model


def test_branches_are_walked():
    model = branching()
    assert {node.name for node in nodes(model)} == {"fork", "in_Abs", "in_Neg"}
    assert len(list(graphs(model))) == 3
    assert operators(model) == {"If": 1, "Abs": 1, "Neg": 1}


def test_operators_inside_functions_are_counted():
    model = with_function()
    assert operators(model) == {"Conv": 1, "Add": 1}
    assert unsupported(model, None) is None
    assert unsupported(model, {"Conv"}) is not None
    assert unsupported(model, {"Conv", "Add"}) is None


def test_unsupported_inside_a_branch():
    assert unsupported(branching(), None) is None
    assert "in_Wobble" in str(unsupported(branching("Wobble"), None))


def test_long_lists_of_nodes_are_shortened():
    model = convolution(activation="Odd")
    for index in range(9):
        model.graph.node.append(helper.make_node("Odd", ["mid"], [f"o{index}"]))
    text = unsupported(model, None)
    assert text == (
        "unsupported operator Odd (nodes: last, o0, o1 and 7 more): rewrite this part of the model"
    )
    assert unsupported(model, None, "try that").endswith(": try that")


def test_many_operators_are_one_line_of_some_length():
    model = convolution()
    for index in range(9):
        model.graph.node.append(helper.make_node(f"Odd{index}", ["mid"], ["o" * 99]))
    text = unsupported(model, None)
    assert text is not None
    assert "and 6 more operators" in text
    assert len(text) < 260


def test_operators_of_onnx_runtime_are_left_to_the_lowerings():
    model = convolution(activation="Gelu", domain="com.microsoft")
    assert unsupported(model, None) is None
    assert missing(model, {"Conv"}) == {"com.microsoft::Gelu": ["last"]}


def test_an_operator_of_a_newer_version_is_unknown():
    model = convolution(activation="Gelu")  # from opset 20
    assert "Gelu" in str(unsupported(model, None))
    model.opset_import[0].version = 20
    assert unsupported(model, None) is None
