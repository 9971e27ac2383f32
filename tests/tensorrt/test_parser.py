from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from build_fakes import GENERATIONS, Generation
from small_nets import net

from tvmkd.base.errors import InputError
from tvmkd.tensorrt import parser


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_node_that_is_refused_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    generation, path = Generation(name), net(tmp_path / "m.onnx", activation="Det")
    bindings = generation.bindings
    network = bindings.module.Builder(bindings.log.handle).create_network(1)
    with pytest.raises(InputError) as caught:
        parser.parse(network, path, onnx.load(path), path, bindings)
    line = str(caught.value)
    assert line == (
        f'{path}: {bindings.title} cannot read it: node "act" (Det): UNSUPPORTED_NODE: Assertion '
        "failed: Det is not there; rewrite this part of the model, or leave it to another engine"
    )


def test_many_refusals_are_counted(tmp_path: Path) -> None:
    generation, path = Generation("10"), net(tmp_path / "m.onnx")
    generation.unsupported = {"Conv", "Relu", "GlobalAveragePool", "Flatten", "MatMul"}
    bindings = generation.bindings
    network = bindings.module.Builder(bindings.log.handle).create_network(0)
    with pytest.raises(InputError, match=r'"conv".*"act".*"pool".*; and 2 more; '):
        parser.parse(network, path, onnx.load(path), path, bindings)


def test_a_refusal_without_errors_takes_the_log(tmp_path: Path) -> None:
    generation, path = Generation("8.2"), net(tmp_path / "m.onnx")
    bindings = generation.bindings
    network = bindings.module.Builder(bindings.log.handle).create_network(0)
    bindings.log.clear()
    with pytest.raises(InputError, match="must be created with EXPLICIT_BATCH"):
        parser.parse(network, path, onnx.load(path), path, bindings)
