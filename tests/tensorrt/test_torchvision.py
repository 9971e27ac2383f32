"""Builds TensorRT-RTX engines of real networks, for a compute capability without a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tvmkd.tensorrt import api
from tvmkd.tensorrt.builder import BuildOptions, build

# benchmarks/bench_tensorrt_build.py builds five; here one with squeeze-and-excitation and one that
# splits and shuffles channels.
NETWORKS = ("mobilenet_v3_small", "shufflenet_v2_x1_0")
SIZE = 64


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_becomes_engines_of_each_precision_with_and_without_a_free_batch(
    tmp_path: Path, name: str
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    import torch

    from tvmkd import models
    from tvmkd.export import export

    torch.manual_seed(0)
    network = models.build(f"torchvision:{name}", num_classes=10)
    bindings = api.find("tensorrt-rtx")
    noise = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE), dtype=np.float32)
    sizes: dict[tuple[str, bool], int] = {}
    for free in (False, True):
        path = export(network, tmp_path / f"{free}.onnx", (1, 3, SIZE, SIZE), dynamic_batch=free)
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
