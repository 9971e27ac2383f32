"""The activations of a recurrent operator, by their names and numbers."""

from __future__ import annotations

import pytest
from onnx import helper
from rewriting import site

from tvmkd.export.rewrites.activations import activations
from tvmkd.export.site import Refused


def at(**attributes):
    return site(helper.make_node("GRU", ["x"], ["y"], **attributes), [2, 3])


def test_defaults_are_the_same_in_both_directions():
    found = activations(at(), ["Sigmoid", "Tanh"], 2)
    assert [[each.name for each in one] for one in found] == [["sigmoid", "tanh"]] * 2


def test_numbers_go_to_those_that_have_one():
    names = ["Tanh", "LeakyRelu", "HardSigmoid", "Elu"]
    node = at(activations=names, activation_alpha=[0.1, 0.25], activation_beta=[0.5])
    (_, leaky), (hard, elu) = activations(node, ["Sigmoid", "Tanh"], 2)
    assert leaky.numbers["alpha"] == pytest.approx(0.1)
    assert hard.numbers == pytest.approx({"alpha": 0.25, "beta": 0.5})
    assert elu.numbers == {"alpha": 1.0}


def test_a_name_that_is_not_known_is_refused():
    with pytest.raises(Refused, match='has the activation "Swirl"'):
        activations(at(activations=["Tanh", "Swirl"]), ["Sigmoid", "Tanh"], 1)
