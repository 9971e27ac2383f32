"""Builds TensorRT-RTX engines of networks' kinds of blocks, for a compute capability without a GPU.

benchmarks/bench_tensorrt_build.py builds whole networks of torchvision.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tvmkd.tensorrt import api
from tvmkd.tensorrt.builder import BuildOptions, build

if TYPE_CHECKING:
    from torch import nn

SIZE = 32
CLASSES = 1000  # the classifier's weights make up most of an engine


def network(name: str) -> nn.Module:
    """Two blocks with squeeze-and-excitation, or three that split and shuffle channels."""
    from torchvision.models import MobileNetV3, ShuffleNetV2
    from torchvision.models.mobilenetv3 import InvertedResidualConfig

    if name == "shuffle":
        return ShuffleNetV2([1, 1, 1], [8, 16, 16, 32, 256], num_classes=CLASSES)
    blocks = [
        InvertedResidualConfig(16, 3, 16, 16, True, "RE", 2, 1, 1),
        InvertedResidualConfig(16, 5, 32, 16, True, "HS", 1, 1, 1),
    ]
    return MobileNetV3(blocks, last_channel=256, num_classes=CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["excitation", "shuffle"])
def test_a_network_becomes_engines_of_each_precision_with_and_without_a_free_batch(
    tmp_path: Path, name: str
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    import torch

    from tvmkd.export import export

    torch.manual_seed(0)
    bindings = api.find("tensorrt-rtx")
    noise = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE), dtype=np.float32)
    sizes: dict[tuple[str, bool], int] = {}
    for free in (False, True):
        path = export(
            network(name), tmp_path / f"{free}.onnx", (1, 3, SIZE, SIZE), dynamic_batch=free
        )
        for precision in ("fp32", "fp16", "int8"):
            options = BuildOptions(
                precision=precision,  # type: ignore[arg-type]
                batch=(1, 2, 4) if free else None,
                compute_capability="8.6",
                calibration={"input": noise} if precision == "int8" else None,
            )
            engine = build(path, options, bindings)
            assert engine.layers
            assert [entry["name"] for entry in engine.inputs] == ["input"]
            sizes[precision, free] = engine.size
    for free in (False, True):
        assert sizes["fp16", free] < 0.8 * sizes["fp32", free]
