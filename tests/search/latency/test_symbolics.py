"""The nodes that the TorchScript exporter writes are those of torch's other exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from tvmkd.search.latency import symbolics

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def graph(module: nn.Module, shape: tuple[int, ...], folder: Path) -> onnx.GraphProto:
    """What the exporter writes, after a check that it computes the same."""
    path, x = folder / "n.onnx", torch.rand(shape)
    with symbolics.replaced():
        torch.onnx.export(
            module.eval(), (x,), str(path), opset_version=symbolics.OPSET, dynamo=False
        )
    session = onnxruntime.InferenceSession(str(path))
    (name,) = (entry.name for entry in session.get_inputs())
    with torch.no_grad():
        wanted = module(x).numpy()
    np.testing.assert_allclose(session.run(None, {name: x.numpy()})[0], wanted, atol=1e-5)
    return onnx.load(path).graph


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_adds_its_bias_last(tmp_path: Path, bias: bool) -> None:
    found = graph(nn.Linear(4, 3, bias=bias), (1, 2, 4), tmp_path)
    assert [node.op_type for node in found.node] == ["MatMul", "Add"][: 1 + bias]
    if bias:
        assert found.node[1].input[0] == found.node[0].output[0]


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_of_rows_is_one_product(tmp_path: Path, bias: bool) -> None:
    found = graph(nn.Linear(4, 3, bias=bias), (1, 4), tmp_path)
    assert [node.op_type for node in found.node] == ["Gemm" if bias else "MatMul"]


@pytest.mark.parametrize(("size", "parts"), [(6, 3), (5, 2), (4, 1)])
def test_a_chunk_is_one_split(tmp_path: Path, size: int, parts: int) -> None:
    class Chunks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return sum(part.sum(2) for part in x.chunk(parts, dim=2))  # type: ignore[return-value]

    found = graph(Chunks(), (1, 3, size), tmp_path)
    assert [node.op_type for node in found.node].count("Split") == 1
    assert "Slice" not in {node.op_type for node in found.node}


def test_a_tensor_is_expanded_to_constant_sizes(tmp_path: Path) -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.rand(1, 1, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)

    found = graph(Token(), (2, 3, 4), tmp_path)
    assert {node.op_type for node in found.node} <= {"Expand", "Concat", "Constant"}


@pytest.mark.parametrize("last", [False, True])
def test_a_mean_of_channels_that_come_last(tmp_path: Path, last: bool) -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.permute(0, 3, 1, 2) if last else x
            return nn.functional.adaptive_avg_pool2d(x, 1)

    found = graph(Mean(), (2, 3, 4, 5), tmp_path)
    kinds = [node.op_type for node in found.node if node.op_type != "Constant"]
    assert kinds == (["Transpose", "ReduceMean", "Reshape", "Gather"] if last else ["ReduceMean"])


def test_other_pooling_is_left_to_the_other_exporter(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="more than one element"):
        graph(nn.AdaptiveAvgPool2d(2), (1, 3, 4, 4), tmp_path)


def test_parts_of_one_are_slices(tmp_path: Path) -> None:
    class Parts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first, second = x.unbind(-3)
            return first * second

    found = graph(Parts(), (1, 2, 3, 4), tmp_path)
    kinds = [node.op_type for node in found.node if node.op_type != "Constant"]
    assert kinds == ["Slice", "Slice", "Squeeze", "Squeeze", "Mul"]


def test_a_list_of_parts_is_left_to_the_other_exporter() -> None:
    with pytest.raises(NotImplementedError, match="a list of tensors"):
        symbolics.unbind(None, None, None)


def test_sizes_are_constants(tmp_path: Path) -> None:
    class Sized(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(x.size(0), -1, x.shape[-1]) * x.shape[1] + len(x.size())

    found = graph(Sized(), (2, 3, 2, 4), tmp_path)
    assert {node.op_type for node in found.node} <= {"Reshape", "Mul", "Add", "Constant", "Cast"}


class Attention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, dim=3)
        return nn.functional.scaled_dot_product_attention(q, k + 1, v, **self.options)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_swaps_the_axes_of_the_keys_in_three_dimensions(
    tmp_path: Path, masked: bool
) -> None:
    options = {"attn_mask": torch.rand(5, 5)} if masked else {}
    found = graph(Attention(**options), (1, 2, 5, 12), tmp_path)
    (turn,) = (node for node in found.node if node.op_type == "Transpose")
    assert list(turn.attribute[0].ints) == [0, 2, 1]


@pytest.mark.parametrize(
    "options",
    [{"is_causal": True}, {"scale": 0.3}, {"attn_mask": torch.ones(5, 5).bool()}],
)
def test_other_attention_is_left_to_the_other_exporter(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(NotImplementedError, match="attention"):
        graph(Attention(**options), (1, 2, 5, 12), tmp_path)


def test_other_exports_are_as_before(tmp_path: Path) -> None:
    layer, path = nn.Linear(4, 3).eval(), str(tmp_path / "n.onnx")

    def nodes() -> list[list[str]]:
        torch.onnx.export(layer, (torch.rand(1, 2, 4),), path, opset_version=18, dynamo=False)
        return [list(node.input) for node in onnx.load(path).graph.node]

    before = nodes()
    with symbolics.replaced():
        assert nodes() != before
    assert nodes() == before
