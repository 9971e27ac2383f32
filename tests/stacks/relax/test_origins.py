"""ONNX nodes of kernels, from values that are known."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tvmkd.stacks.relax.origins import Call, find, node_names

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(1, 3, 4, 5)).astype(np.float32)


def model(*nodes: tuple[str, str, str]) -> onnx.ModelProto:
    """A chain or graph of nodes: operator, inputs, output; each is called after its output."""
    made = [
        helper.make_node(operator, inputs.split(), [output], name=f"node_{output}")
        for operator, inputs, output in nodes
    ]
    return helper.make_model(helper.make_graph(made, "g", [], []))


CHAIN = model(("Conv", "x w", "c"), ("Relu", "c", "r"), ("Add", "r r", "a"), ("Neg", "a", "n"))
TENSORS = {name: (IMAGE + shift).astype(np.float32) for shift, name in enumerate("cran")}


def last(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def test_nodes_between_two_kernels_belong_to_the_second_in_either_layout() -> None:
    calls = [Call([1], 2, last(TENSORS["r"])), Call([2], 1, TENSORS["n"])]
    find(CHAIN, TENSORS, calls)
    assert [call.nodes for call in calls] == [["node_c", "node_r"], ["node_a", "node_n"]]


def test_an_identity_is_named_only_where_there_is_nothing_else() -> None:
    graph = model(("Identity", "x", "i"), ("Conv", "i w", "c"), ("Identity", "c", "j"))
    tensors = {"c": TENSORS["c"], "j": TENSORS["r"]}  # an Identity between layouts
    calls = [Call([1], 2, TENSORS["c"]), Call([2], 3, TENSORS["r"])]
    find(graph, tensors, calls)
    assert [call.nodes for call in calls] == [["node_c"], ["node_j"]]


def test_values_may_differ_by_rounding_and_no_more() -> None:
    for error, nodes in ((1e-5, ["node_c"]), (1e-1, [])):
        calls = [Call([1], 2, last(TENSORS["c"]) * np.float32(1 + error))]
        find(CHAIN, TENSORS, calls)
        assert calls[0].nodes == nodes


def test_the_same_values_in_another_order_are_another_tensor() -> None:
    calls = [Call([1], 2, TENSORS["c"].reshape(-1)[::-1].copy())]
    find(CHAIN, TENSORS, calls)
    assert calls[0].nodes == []


def test_a_step_inside_an_operator_shares_the_nodes_of_what_it_leads_to() -> None:
    inside = RNG.normal(size=(36, 7)).astype(np.float32)
    more = RNG.normal(size=(36, 7)).astype(np.float32)
    calls = [
        Call([1], 2, inside),
        Call([2], 3, more),
        Call([3], 4, last(TENSORS["c"])),
        Call([9], 5, inside),  # nothing reads it
        Call([4], 2, last(TENSORS["r"])),
    ]
    find(CHAIN, TENSORS, calls)
    assert [call.nodes for call in calls] == [*[["node_c"]] * 3, [], ["node_r"]]


def test_a_change_of_an_input_s_layout_computes_no_node() -> None:
    graph = model(("Conv", "x w", "c"))
    graph.graph.input.append(helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None))
    calls = [Call([1], 2, last(IMAGE - 1)), Call([2], 3, last(TENSORS["c"]))]
    find(graph, {**TENSORS, "x": IMAGE - 1}, calls)
    assert [call.nodes for call in calls] == [[], ["node_c"]]


def test_memory_that_is_used_again_is_of_the_last_call_that_wrote_it() -> None:
    inside = RNG.normal(size=8).astype(np.float32)
    calls = [
        Call([1], 2, inside),
        Call([1], 2, last(TENSORS["c"])),
        Call([2], 3, last(TENSORS["r"])),
    ]
    find(CHAIN, TENSORS, calls)
    assert [call.nodes for call in calls] == [[], ["node_c"], ["node_r"]]


def test_of_equal_tensors_the_first_that_is_left_is_taken() -> None:
    graph = model(("Conv", "x w", "c"), ("Relu", "c", "r"), ("Neg", "r", "n"))
    tensors = {"c": IMAGE, "r": IMAGE, "n": -IMAGE}
    calls = [Call([1], 2, IMAGE), Call([2], 3, IMAGE), Call([3], 1, -IMAGE)]
    find(graph, tensors, calls)
    assert [call.nodes for call in calls] == [["node_c"], ["node_r"], ["node_n"]]


def test_single_numbers_and_texts_say_nothing() -> None:
    one = np.ones(1, np.float32)
    graph = model(("Neg", "x", "o"), ("Neg", "x", "s"))
    calls = [Call([1], 2, one), Call([1], 3, np.array(["a", "b"]))]
    find(graph, {"o": one, "s": np.array(["a", "b"])}, calls)
    assert [call.nodes for call in calls] == [[], []]


def test_a_node_without_a_name_is_called_after_its_output() -> None:
    graph = model(("Neg", "x", "o"))
    graph.graph.node[0].name = ""
    assert list(node_names(graph)) == ["o"]
