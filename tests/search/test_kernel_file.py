from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from tvmkd import config, models
from tvmkd.base.errors import InputError
from tvmkd.config import Config
from tvmkd.search import kernel_file

IMAGES = np.random.default_rng(0).standard_normal((2, 1, 16, 16)).astype(np.float32)


def cfg(precision: str, kept: list[str] | None = None) -> Config:
    export = {"precision": precision}
    data = {"project": {"name": "a"}, "export": export}
    if precision == "int8":
        return config.parse({**data, "quantize": {"keep_fp32": kept or []}})
    return config.parse({**data, "export": {**export, "keep_fp32": kept or []}})


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


@pytest.fixture(scope="module")
def network():
    return models.build("bottleneck", size=16, width=0.5, depth=0.5)


def test_every_precision(network, tmp_path: Path) -> None:
    found = {}
    for precision in ("fp32", "fp16", "int8"):
        path = tmp_path / f"{precision}.onnx"
        assert kernel_file.write(network, IMAGES, cfg(precision), path) == path
        found[precision] = operators(path)
    layers = found["fp32"]["Conv"] + found["fp32"]["Gemm"]
    assert found["int8"]["Conv"] + found["int8"]["Gemm"] == layers
    assert found["int8"]["DequantizeLinear"] >= 3 * layers  # an input, a weight and a bias each
    weights = onnx.load(str(tmp_path / "fp16.onnx")).graph.initializer
    assert onnx.TensorProto.FLOAT16 in {entry.data_type for entry in weights}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fp16.onnx",
        "fp32.onnx",
        "int8.onnx",
    ]


def test_layers_that_stay_in_fp32(network, tmp_path: Path) -> None:
    whole, some = (
        operators(kernel_file.write(network, IMAGES, cfg("int8", kept), tmp_path / f"{n}.onnx"))
        for n, kept in enumerate(([], ["features.1", "head"]))
    )
    inside = {
        name: module
        for name, module in network.named_modules()
        if name.startswith(("features.1.", "head")) and hasattr(module, "weight")
    }
    layers = sum(type(module).__name__ != "BatchNorm2d" for module in inside.values())
    assert layers > 2
    # Each loses the scales of its weight and of its bias at least.
    assert whole["DequantizeLinear"] - some["DequantizeLinear"] >= 2 * layers


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_layer_that_is_not_there(network, tmp_path: Path, precision: str) -> None:
    with pytest.raises(InputError, match='keep_fp32: there is no layer "hed"'):
        kernel_file.write(network, IMAGES, cfg(precision, ["hed"]), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
