from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tvmkd.base.errors import MissingError
from tvmkd.bench.engines import create
from tvmkd.bench.engines.ort import OrtCudaEngine, OrtEngine, OrtTensorRTEngine
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


def _with_providers(monkeypatch: pytest.MonkeyPatch, broken: int) -> list[Any]:
    """An ONNX Runtime with NVIDIA's providers, of which the first ``broken`` do not start."""
    asked: list[Any] = []

    def session(path: str, options: Any, providers: list[Any]) -> Any:
        asked.append(providers)
        names = [name for name, _ in providers][broken:]
        return SimpleNamespace(
            get_providers=lambda: names,
            get_provider_options=lambda: {name: dict(providers)[name] for name in names},
            get_session_options=onnxruntime.SessionOptions,
        )

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    known = OrtTensorRTEngine.providers
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
    return asked


@pytest.mark.parametrize(
    ("kind", "precision", "wanted"),
    [
        ("onnxruntime", "fp32", ("CPUExecutionProvider", {})),
        ("onnxruntime:cuda", "fp32", ("CUDAExecutionProvider", {"use_tf32": "0"})),
        ("onnxruntime:cuda", "fp16", ("CUDAExecutionProvider", {"use_tf32": "1"})),
        (
            *("onnxruntime:tensorrt", "fp16"),
            ("TensorrtExecutionProvider", {"trt_fp16_enable": "True", "trt_int8_enable": "False"}),
        ),
    ],
)
def test_a_provider_is_asked_for_with_its_precision(
    onnx: Path, monkeypatch: pytest.MonkeyPatch, kind: str, precision: str, wanted: Any
) -> None:
    first, *others = _opened(monkeypatch, EngineSpec("o", kind, onnx, precision=precision))
    assert first == wanted
    order = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    assert tuple(name for name, _ in others) == order[order.index(wanted[0]) + 1 :]


def _opened(monkeypatch: pytest.MonkeyPatch, spec: EngineSpec) -> list[Any]:
    asked = _with_providers(monkeypatch, 0)
    engine = create(spec, threads=1)
    assert isinstance(engine, OrtEngine)
    engine.open()
    facts = engine.facts()
    assert facts["provider"] == asked[0][0][0]
    assert facts["provider_options"] == asked[0][0][1]
    providers: list[Any] = asked[0]
    return providers


def test_a_provider_that_is_not_there_or_does_not_start_is_no_cpu(
    onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = OrtCudaEngine(EngineSpec("o", "onnxruntime:cuda", onnx), threads=1)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: OrtEngine.providers)
    with pytest.raises(MissingError, match=r"no CUDAExecutionProvider: .*onnxruntime-gpu"):
        engine.open()
    _with_providers(monkeypatch, 1)
    with pytest.raises(MissingError, match="CUDAExecutionProvider does not start"):
        engine.open()
