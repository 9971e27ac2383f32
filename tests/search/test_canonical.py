from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from tvmkd.export import qdq
from tvmkd.search import canonical
from tvmkd.search.latency import skeleton

SHAPE = (1, 3, 8, 8)


class Net(nn.Module):
    """A shortcut, a ReLU, and a reshape between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        logits: Tensor = self.head((y + self.second(y)).flatten(1))
        return logits


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network calibrated with small and with large inputs, before and after."""
    folder = tmp_path_factory.mktemp("canonical")
    plain = skeleton.write(Net(), SHAPE, folder / "plain.onnx")
    images = np.random.default_rng(0).standard_normal((2, *SHAPE[1:])).astype(np.float32)
    found = {}
    for name, factor in (("small", 0.1), ("large", 10.0)):
        for kind in ("calibrated", "canonical"):
            path = found[f"{kind} {name}"] = folder / f"{kind}-{name}.onnx"
            qdq.quantize(plain, path, images * factor)
        canonical.rescale(path)
    return found


def numbers(path: Path) -> dict[str, np.ndarray]:
    """The scales and zero points of activations, by name."""
    model = onnx.load(str(path))
    values = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    return {
        name: values[name]
        for node in model.graph.node
        if node.op_type == canonical.QUANTIZE and node.input[0] not in values
        for name in node.input[1:]
    }


def test_calibrations_do_not_show_any_more(files: dict[str, Path]) -> None:
    before = [numbers(files[f"calibrated {name}"]) for name in ("small", "large")]
    after = [numbers(files[f"canonical {name}"]) for name in ("small", "large")]
    assert any(before[0][name] != before[1][name] for name in before[0])
    assert len(after[0]) >= 8
    assert after[0] == after[1]
    for name, value in after[0].items():
        if np.issubdtype(value.dtype, np.integer):
            assert value == (0 if before[0][name] == 0 else canonical.ZERO)


def test_scales_that_meet_stay_different_and_equal_ones_equal(files: dict[str, Path]) -> None:
    before, after = (numbers(files[f"{kind} small"]) for kind in ("calibrated", "canonical"))
    scales = [name for name, value in before.items() if value.dtype == np.float32]
    model = onnx.load(str(files["calibrated small"]))
    made = {name: node for node in model.graph.node for name in node.output}

    def behind(name: str) -> set[str]:
        node = made.get(name)
        if node is None:
            return set()
        if node.op_type == canonical.DEQUANTIZE:
            return {node.input[1]} & set(scales)
        return {scale for given in node.input for scale in behind(given)}

    pairs = [
        (node.input[1], other)
        for node in model.graph.node
        if node.op_type == canonical.QUANTIZE and node.input[1] in scales
        for other in behind(node.input[0])
    ]
    assert len(pairs) >= 4
    for first, second in pairs:
        assert (before[first] == before[second]) == (after[first] == after[second])


def test_the_file_still_runs_and_a_bias_has_its_scale(files: dict[str, Path]) -> None:
    path = files["canonical large"]
    (found,) = onnxruntime.InferenceSession(str(path)).run(
        None, {"input": np.ones(SHAPE, np.float32)}
    )
    assert found.shape == (1, 4)
    model = onnx.load(str(path))
    values = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    layers = [node for node in model.graph.node if node.op_type in canonical.LAYERS]
    assert len(layers) == 3
    for node in layers:
        image, weight, bias = (values[made[name].input[1]] for name in node.input)
        np.testing.assert_allclose(bias, image * weight, rtol=1e-6)
        assert np.abs(values[made[node.input[2]].input[0]]).max() <= canonical.LARGEST
