from __future__ import annotations

import onnx
import pytest
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.export import export
from tvmkd.export.layers import nodes_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    network = nn.Sequential()
    network.add_module("stem", nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    network.add_module("head", nn.Sequential(nn.Flatten(), nn.Linear(144, 3)))
    path = tmp_path_factory.mktemp("layers") / "m.onnx"
    return onnx.load(export(network, path, (1, 1, 8, 8)))


def _kinds(model: onnx.ModelProto, layers: list[str]) -> set[str]:
    names = nodes_of(model, layers, "keep")
    return {node.op_type for node in model.graph.node if node.name in names}


def test_a_module_is_its_nodes_and_its_childrens(model):
    assert _kinds(model, ["stem"]) == {"Conv", "Relu"}
    assert "Gemm" in _kinds(model, ["head"])
    assert nodes_of(model, [], "keep") == []


def test_a_folded_convolution_is_found_by_its_own_path(model):
    assert _kinds(model, ["stem.0"]) == {"Conv"}


def test_a_node_by_its_name(model):
    node = next(node for node in model.graph.node if node.op_type == "Gemm")
    assert nodes_of(model, [node.name], "keep") == [node.name]


def test_what_is_not_there_is_named(model):
    with pytest.raises(InputError, match=r'keep: nothing in the graph belongs to "hed".*head'):
        nodes_of(model, ["hed"], "keep")
