"""Builds, runs and times real engines on a real GPU, with and without a CUDA graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_nets

from tvmkd.base.errors import MissingError
from tvmkd.bench import CompareOptions, EngineSpec, compare
from tvmkd.tensorrt import api, builder, cuda
from tvmkd.tensorrt.runner import Runner

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def bindings(request: pytest.FixtureRequest) -> api.Bindings:
    try:
        cuda.find().close()
        return api.find(request.param)
    except MissingError as error:
        pytest.skip(str(error))


def _wanted(path: Path, x: np.ndarray) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("graph", [False, True])
def test_it_computes_what_onnx_runtime_does(
    bindings: api.Bindings, tmp_path: Path, graph: bool
) -> None:
    path = small_nets.net(tmp_path / "m.onnx", batch="batch")
    options = builder.BuildOptions(batch=(1, 2, 4))
    runtime = cuda.find()
    free, _ = runtime.memory()
    built = builder.build(path, options, bindings, cuda=runtime)
    with Runner(built.plan, bindings, runtime, graph=graph) as runner:
        for batch in (1, 4, 2):
            x = np.random.default_rng(batch).standard_normal((batch, 3, 16, 16)).astype(np.float32)
            (y,) = runner.infer({"x": x}).values()
            np.testing.assert_allclose(y, _wanted(path, x), rtol=1e-3, atol=1e-3)
        assert runner.graphed or not graph or runner.no_graph
        for timing in runner.time({"x": x}, 20):
            assert 0 < timing.compute <= timing.latency
            assert timing.latency <= timing.host * 1.5 + 0.1
        layers = runner.profile({"x": x}, 3)
        assert layers
        assert all(layer.ms >= 0 for layer in layers)
        (again,) = runner.infer({"x": x}).values()
        np.testing.assert_array_equal(again, y)
    assert free - runtime.memory()[0] < 1 << 30
    runtime.close()


def test_a_comparison_on_this_gpu(bindings: api.Bindings, tmp_path: Path) -> None:
    path = small_nets.net(tmp_path / "m.onnx")
    specs = [
        EngineSpec("onnxruntime", "onnxruntime", path),
        EngineSpec("host", bindings.product, path),
        EngineSpec("gpu", bindings.product, path, options={"clock": "compute"}),
    ]
    options = CompareOptions(
        threads=1, builds=2, cuda_graph=True, seconds=0.5, rounds=2, warmup_limit=2
    )
    result = compare(specs, path, options=options)
    assert result.left_out == []
    host, gpu = result.engine("host"), result.engine("gpu")
    assert host is not None
    assert gpu is not None
    assert gpu.p50 < host.p50
    assert host.facts["gpu"]
    assert (host.gpu_memory_bytes or 0) > 0
    assert host.facts["cuda_graph"] is True
    assert len(host.builds) == 2
    assert result.context.gpu is not None
    assert result.context.gpu.sm_mhz[-1]
