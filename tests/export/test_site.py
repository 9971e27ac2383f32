"""A rewrite reads types, shapes and constants of a node, and replaces the node."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from rewriting import site

from tvmkd.export.site import Refused, constant_value


def test_new_names_differ_from_every_name_in_the_model():
    at = site(helper.make_node("Mish", ["x"], ["y"], name="act"))
    assert [at.add("Mul", ["x", "x"]) for _ in range(2)] == ["y_Mul_1", "y_Mul_2"]
    assert at.add("Add", ["x", "x"]) == "y_Add"
    assert [node.output[0] for node in at.before] == ["y_Mul_1", "y_Mul_2", "y_Add"]
    assert {node.name for node in at.before} == {""}


def test_a_node_is_named_by_its_first_output_where_it_has_no_name():
    assert site(helper.make_node("Relu", ["x"], ["y"], name="act")).name == "act"
    assert site(helper.make_node("Relu", ["x"], ["y"])).name == "y"
    assert site(helper.make_node("Relu", ["x"], [])).name == "?"


def test_the_node_keeps_its_name_and_outputs_and_nothing_else():
    node = helper.make_node("Split", ["x", "s"], ["y", "z"], name="cut", axis=1)
    site(node).become("Concat", ["x", "x"], axis=0)
    assert node == helper.make_node("Concat", ["x", "x"], ["y", "z"], name="cut", axis=0)


def test_an_optional_input_is_there_if_it_has_a_name():
    at = site(helper.make_node("Clip", ["x", "", "high"], ["y"]), high=np.array(6.0, np.float32))
    assert [at.has(index) for index in range(4)] == [True, False, True, False]
    assert [at.value(index) for index in (0, 1, 3)] == [None, None, None]
    assert at.value(2) == 6
    at.set_input(4, "last")
    assert list(at.node.input) == ["x", "", "high", "", "last"]


def test_the_values_of_a_file_beside_the_model_are_not_read():
    at = site(helper.make_node("Gather", ["x", "i"], ["y"]), i=np.array([-1]))
    at.scope.constants["i"].data_location = TensorProto.EXTERNAL
    assert at.value(1) is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"value_int": 3}, np.array(3)),
        ({"value_ints": [3, 4]}, np.array([3, 4])),
        ({"value_float": 0.5}, np.array(0.5, np.float32)),
        ({"value_floats": [0.5, 1]}, np.array([0.5, 1], np.float32)),
        ({"value": numpy_helper.from_array(np.array([True]))}, np.array([True])),
        ({"value_string": "text"}, None),
    ],
)
def test_the_tensor_of_a_constant(given, wanted):
    node = helper.make_node("Constant", [], ["y"], **given)
    found = constant_value(node)
    if wanted is None:
        assert found is None
        return
    array = numpy_helper.to_array(found)
    np.testing.assert_array_equal(array, wanted)
    assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)


def test_the_types_of_new_nodes_are_known_at_once():
    at = site(helper.make_node("Mish", ["x"], ["y"]), [2, 3])
    flat = at.add("Reshape", ["x", at.constant([-1])])
    assert at.sizes_of(flat) == (6,)
    assert at.elem_type_of(flat) == TensorProto.FLOAT
    halves = at.add_many("Split", [flat, at.constant([2, 4])], 2)
    assert [at.sizes_of(name) for name in halves] == [(2,), (4,)]


def test_what_cannot_be_inferred_stays_unknown():
    at = site(helper.make_node("Mish", ["x"], ["y"]), [2, None])
    with pytest.raises(Refused, match="shape is not known"):
        at.sizes()
    assert at.shape_of(at.add("NoSuchOperator", ["x"])) is None
    assert at.shape_of(at.add("Add", ["x", "nowhere"])) is None
    with pytest.raises(Refused, match="type is not known"):
        at.elem_type_of("nowhere")
