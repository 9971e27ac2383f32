from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.export import qdq
from tvmkd.export.onnx import export
from tvmkd.quantize import fake

SHAPE = (1, 1, 16, 16)
IMAGES = np.random.default_rng(0).normal(size=(16, 1, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = models.build("residual", classes=10, widths=[8, 16], depth=1)
    return export(network, tmp_path_factory.mktemp("qdq") / "plain.onnx", SHAPE)


def run(path: Path) -> np.ndarray:
    # Without optimisations QDQ pairs run in float: integer kernels of a CPU without VNNI saturate
    # with the eight-bit weights that TensorRT reads.
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in IMAGES])


def weights(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """int8 weight, scales and zero points, by the weight's name."""
    model = onnx.load(str(path))
    values = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in values:
            parts = [values[name] for name in node.input]
            if parts[0].dtype == np.int8:
                found[node.input[0]] = (parts[0], parts[1], parts[2])
    return found


def test_weights_are_int8_with_one_scale_for_each_channel(plain: Path, tmp_path: Path) -> None:
    facts = qdq.quantize(plain, tmp_path / "int8.onnx", IMAGES)
    convolutions = [
        parts for parts in weights(tmp_path / "int8.onnx").values() if parts[0].ndim == 4
    ]
    assert facts == qdq.Facts(8, ())
    assert len(convolutions) == 7
    for weight, scale, zero in convolutions:
        assert scale.shape == (weight.shape[0],)
        assert not zero.any()
        assert np.abs(weight).max() <= 64, "seven bits: pairs of products must not saturate"


def test_weights_in_the_file_are_those_that_training_saw(plain: Path, tmp_path: Path) -> None:
    qdq.quantize(plain, tmp_path / "int8.onnx", IMAGES)
    rounded = fake.RoundedWeight()
    floats = [numpy_helper.to_array(entry) for entry in onnx.load(str(plain)).graph.initializer]
    wanted = [rounded(torch.tensor(weight)).numpy() for weight in floats if weight.ndim == 4]
    got = [
        weight.astype(np.float32) * scale.reshape(-1, 1, 1, 1)
        for weight, scale, _ in weights(tmp_path / "int8.onnx").values()
        if weight.ndim == 4
    ]
    assert len(got) == len(wanted) == 7
    for weight in got:
        same = [other for other in wanted if other.shape == weight.shape]
        assert min(float(np.abs(weight - other).max()) for other in same) < 1e-5


def test_onnx_runtime_gives_nearly_the_same(plain: Path, tmp_path: Path) -> None:
    qdq.quantize(plain, tmp_path / "int8.onnx", IMAGES)
    want, got = run(plain), run(tmp_path / "int8.onnx")
    assert 0 < np.abs(want - got).max() < 0.1 * np.abs(want).max()


def test_symmetric_files_have_the_form_for_tensorrt(plain: Path, tmp_path: Path) -> None:
    qdq.quantize(plain, tmp_path / "int8.onnx", IMAGES, symmetric=True)
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    values = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    points = [values[n.input[2]] for n in graph.node if n.op_type.endswith("eLinear")]
    assert {point.dtype for point in points} == {np.dtype(np.int8)}
    assert not any(np.any(point) for point in points)
    assert not [name for name, value in values.items() if value.dtype == np.int32]
    # All eight bits, in place of the seven for CPUs.
    assert max(np.abs(v.astype(int)).max() for v in values.values() if v.dtype == np.int8) == 127
    want, got = run(plain), run(tmp_path / "int8.onnx")
    assert 0 < np.abs(want - got).max() < 0.1 * np.abs(want).max()


def test_layers_of_a_kept_module_are_not_quantised(plain: Path, tmp_path: Path) -> None:
    facts = qdq.quantize(plain, tmp_path / "int8.onnx", IMAGES, ["blocks.0", "head"])
    assert len(facts.kept) == 4
    assert facts.quantized == 4
    assert len([1 for parts in weights(tmp_path / "int8.onnx").values() if parts[0].ndim == 4]) == 4


def test_a_name_that_matches_nothing_is_one_line_and_leaves_nothing(
    plain: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r'keep_fp32: nothing in the graph belongs to "blocks\.7"'):
        qdq.quantize(plain, tmp_path / "int8.onnx", IMAGES, ["blocks.7"])
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_nothing_to_quantise_is_one_line(tmp_path: Path) -> None:
    source = export(torch.nn.ReLU(), tmp_path / "relu.onnx", SHAPE)
    with pytest.raises(InputError, match="no weight was quantised"):
        qdq.quantize(source, tmp_path / "int8.onnx", IMAGES)
    assert [path.name for path in tmp_path.iterdir()] == ["relu.onnx"]
