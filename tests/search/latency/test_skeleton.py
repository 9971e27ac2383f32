from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.search.latency import skeleton


def test_no_weight_is_special(tmp_path: Path) -> None:
    model = DepthwiseNet()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = skeleton.write(model, (1, 1, 16, 16), tmp_path / "n.onnx")
    graph = onnx.load(path).graph
    # A new network's biases are zero, and a bias of zero is left out: so would its addition be.
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert all(len(node.input) == 3 for node in convolutions)
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size > 1:
            assert array.std() > 0
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_one_structure_gives_one_file(tmp_path: Path) -> None:
    first = skeleton.write(DepthwiseNet(), (1, 1, 16, 16), tmp_path / "a.onnx")
    torch.manual_seed(7)
    second = skeleton.write(DepthwiseNet(), (1, 1, 16, 16), tmp_path / "b.onnx")
    assert first.read_bytes() == second.read_bytes()


def test_what_one_exporter_cannot_do_the_other_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = torch.onnx.export

    def export(*args: object, dynamo: bool, **rest: object) -> object:
        asked.append(dynamo)
        if not dynamo:
            raise RuntimeError("no symbolic")
        return real(*args, dynamo=False, **rest)  # the other one takes seconds

    monkeypatch.setattr(torch.onnx, "export", export)
    path = skeleton.write(nn.Conv2d(1, 8, 3), (1, 1, 8, 8), tmp_path / "n.onnx")
    assert asked == [False, True]
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Conv"]


def test_networks_that_do_not_run_or_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="DepthwiseNet: fails on an input of 1×3×16×16"):
        skeleton.write(DepthwiseNet(), (1, 3, 16, 16), tmp_path / "n.onnx")

    def export(*args: object, dynamo: bool, **rest: object) -> None:
        (tmp_path / "n.onnx").write_text("half")
        raise RuntimeError(f"no symbol\nmore {dynamo}")

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(InputError, match=r"Linear: torch cannot export it to ONNX \(no symbol\)"):
        skeleton.write(nn.Linear(8, 8), (1, 8), tmp_path / "n.onnx")
    assert not (tmp_path / "n.onnx").exists()
