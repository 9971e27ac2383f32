from __future__ import annotations

from pathlib import Path

import numpy as np

from tvmkd.bench.engines.ort import OrtEngine
from tvmkd.bench.spec import EngineSpec


def test_runs_and_says_what_it_is(onnx: Path) -> None:
    sample = {"x": np.ones((1, 8), np.float32)}
    weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    for optimization, level in (("all", "ORT_ENABLE_ALL"), ("disabled", "ORT_DISABLE_ALL")):
        spec = EngineSpec("o", "onnxruntime", onnx, options={"optimization": optimization})
        with OrtEngine(spec, threads=1) as engine:
            engine.prepare(sample)
            (output,) = engine.infer(sample)
            np.testing.assert_allclose(output, np.maximum(sample["x"] @ weights, 0), rtol=1e-5)
            facts = engine.facts()
            assert facts["graph_optimization"] == level
            assert facts["intra_op_threads"] == 1
            assert engine.size_bytes() == onnx.stat().st_size


def test_signature(onnx: Path) -> None:
    engine = OrtEngine(EngineSpec("o", "onnxruntime", onnx), threads=1)
    engine.open()
    assert engine.signature() == {
        "inputs": [{"name": "x", "shape": [1, 8], "dtype": "float32"}],
        "outputs": [{"name": "y", "shape": [1, 8], "dtype": "float32"}],
    }
