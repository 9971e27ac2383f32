from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from tvmkd import targets
from tvmkd.base.errors import InputError
from tvmkd.export import export
from tvmkd.models import branched
from tvmkd.models.depthwise import DepthwiseNet
from tvmkd.models.mobilevit import TransformerLayer
from tvmkd.search.latency import skeleton
from tvmkd.stacks.client import StackClient


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


def test_branches_for_the_training_are_fused(tmp_path: Path) -> None:
    network = branched.add(DepthwiseNet(), (1, 1, 16, 16), 2, seed=0)
    files = [
        skeleton.write(each, (1, 1, 16, 16), tmp_path / f"{index}.onnx")
        for index, each in enumerate((DepthwiseNet(), network))
    ]
    plain, found = ([node.op_type for node in onnx.load(path).graph.node] for path in files)
    assert found == plain


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


def students() -> list[tuple[nn.Module, tuple[int, ...]]]:
    """Between them they have what torch's two exporters would write differently."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)

    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention
            self.own = TransformerLayer(8)
            self.token = nn.Parameter(torch.rand(1, 1, 8))
            for name in ("mean", "deviation"):
                self.register_buffer(name, torch.full((1, 8, 1, 1), 0.5))

        def forward(self, x: Tensor) -> Tensor:
            x = (x - self.mean) / self.deviation
            rows = x.flatten(2).transpose(1, 2)
            rows = torch.cat([self.token.expand(x.shape[0], -1, -1), rows], dim=1)
            mixed, _ = self.attention(rows, rows, rows, need_weights=False)
            first, second = self.own(mixed).mean(1).chunk(2, dim=1)
            third, fourth = second.reshape(1, 2, 2).unbind(2)
            return torch.cat([first, third * fourth], dim=1)

    return [
        (Attends(), (1, 8, 2, 2)),
        (nn.Sequential(DepthwiseNet(stem=8, blocks=[(8, 1)]), nn.Hardswish()), (1, 1, 8, 8)),
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_the_kernels_are_those_of_a_trained_network(
    relax_stack: StackClient, tmp_path: Path, number: int
) -> None:
    network, shape = students()[number]
    with torch.no_grad():
        for tensor in network.parameters():
            tensor += 0.01 * torch.randn(tensor.shape)
    files = [
        skeleton.write(network, shape, tmp_path / "s.onnx"),
        export(network, tmp_path / "e.onnx", shape),
    ]
    target = targets.load("x86-64-v3").to_dict()
    ours, theirs = (
        {task["key"]: task["weight"] for task in relax_stack.lower(file, target)["tasks"]}
        for file in files
    )
    assert ours == theirs


def test_an_exporter_that_fails_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x)

    real = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: real(*a, **{**k, "dynamo": False}))
    with pytest.raises(InputError, match="Unknown: torch cannot export it to ONNX"):
        skeleton.write(Unknown(), (1, 4), tmp_path / "n.onnx")
    assert capfd.readouterr() == ("", "")


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
