"""TensorRT's engine over a package and a GPU that are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_engines
import numpy as np
import pytest
from fake_cudart import FakeCudart
from fake_gpu import FakeGpu

from tvmkd.base.errors import InputError, MissingError
from tvmkd.bench import CompareOptions, EngineSpec, compare
from tvmkd.bench.engines.tensorrt import CLOCKS, TensorRTEngine, TensorRTRtxEngine, slowest
from tvmkd.tensorrt import api, builder, cache, cuda, device
from tvmkd.tensorrt.cuda_bindings import CudaBindings
from tvmkd.tensorrt.runner import Layer

X = np.arange(8, dtype=np.float32).reshape(2, 4)
NAMES = {"tensorrt": "10", "tensorrt-rtx": "rtx"}


def _onnx(path: Path, batch: object = "batch") -> Path:
    """An ONNX file with the stand-in engine's input and outputs, in another order."""
    from onnx import TensorProto, helper, save

    def value(name: str, shape: list[object]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=0),
            helper.make_node("Add", ["x", "x"], ["twice"]),
        ],
        "toy",
        [value("x", [batch, 4])],
        [value("total", [batch]), value("twice", [batch, 4])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """Puts the stand-ins where the engine looks; builds are noted in the GPU's log."""
    made = FakeGpu()

    def build(path: Path, options: Any, bindings: Any, **_: Any) -> builder.Engine:
        made.log.append(f"build {options.precision} {dict(options.dims)}")
        facts = {"name": "", "shape": [], "dtype": "float32"}
        return builder.Engine(
            plan=fake_engines.plan(bindings.version, batch=(1, 8)),
            product=bindings.product,
            version=bindings.version,
            precision=options.precision,
            gpu="Fake GPU",
            compute_capability="8.6",
            driver="550.54.15",
            seconds=1.5,
            layers=({"Name": "twice"}, {"Name": "total"}),
            network_layers=3,
            inputs=({**facts, "name": "x"},),
            outputs=({**facts, "name": "total"}, {**facts, "name": "twice"}),
            batch=None,
            onnx_sha256="0" * 64,
            notes=("a note",),
        )

    monkeypatch.setattr(api, "find", lambda product: fake_engines.bindings(NAMES[product], made))
    monkeypatch.setattr(cuda, "find", lambda spin: CudaBindings(FakeCudart(made), spin))
    monkeypatch.setattr(device, "find", lambda: device.Gpu("Fake GPU", "8.6", "550.54.15"))
    monkeypatch.setattr(builder, "build", build)
    monkeypatch.setattr(cache, "get", lambda *args, **kwargs: (build(*args, **kwargs), True))
    return made


@pytest.mark.parametrize("kind", NAMES)
def test_it_runs_and_says_what_a_sceptic_asks(gpu: FakeGpu, tmp_path: Path, kind: str) -> None:
    path = _onnx(tmp_path / "m.onnx")
    spec = EngineSpec("t", kind, path, precision="fp16", options={"cuda_graph": True})
    kinds = {"tensorrt": TensorRTEngine, "tensorrt-rtx": TensorRTRtxEngine}
    with kinds[kind](spec, threads=1) as engine:
        engine.prepare({"x": X})
        assert "build fp16 {'batch': 2}" in gpu.log
        total, twice = engine.infer({"x": X})
        np.testing.assert_array_equal(total, X.sum(axis=1))
        np.testing.assert_array_equal(twice, 2 * X)
        assert engine.size_bytes() == len(fake_engines.plan("10.3.0", batch=(1, 8))) + (
            len(fake_engines.GENERATIONS[NAMES[kind]]) - len("10.3.0")
        )
        assert min(engine.times(engine.bind({"x": X}), 3)) > 0
        facts = engine.facts()
    assert (facts["product"], facts["precision"]) == (kind, "fp16")
    assert (facts["gpu"], facts["driver"]) == ("Fake GPU", "550.54.15")
    assert (facts["engine_build_seconds"], facts["engine_from_cache"]) == (1.5, True)
    assert (facts["spin_wait"], facts["cuda_graph"], facts["clock"]) == (True, True, "host")
    assert facts["gpu_memory_bytes"] == X.nbytes * 2 + 8
    assert facts["trtexec"]["gpu_compute_ms"]["p50"] == pytest.approx(1.0)
    assert facts["trtexec"]["latency_ms"]["p50"] == pytest.approx(1.5)
    assert [layer["name"] for layer in facts["slowest_layers"]] == ["twice", "total"]
    assert gpu.held() == {}


@pytest.mark.parametrize(("clock", "ms"), [("compute", 1.0), ("latency", 1.5)])
def test_the_gpu_s_clock_is_taken_where_it_was_asked_for(
    gpu: FakeGpu, tmp_path: Path, clock: str, ms: float
) -> None:
    assert clock in CLOCKS
    spec = EngineSpec("t", "tensorrt", _onnx(tmp_path / "m.onnx", 2), options={"clock": clock})
    with TensorRTEngine(spec, threads=1) as engine:
        engine.prepare({"x": X})
        assert engine.times(engine.bind({"x": X}), 3, 10**10) == [round(ms * 1e6)] * 3


def test_a_graph_that_cannot_be_made_leaves_the_engine_out(
    gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"cuda_graph": True}
    spec = EngineSpec("t", "tensorrt", _onnx(tmp_path / "m.onnx"), options=options)
    gpu.capturable = False
    with (
        TensorRTEngine(spec, threads=1) as engine,
        pytest.raises(InputError, match=r"cannot be captured: .*--no-cuda-graph"),
    ):
        engine.prepare({"x": X})
    assert gpu.held() == {}
    monkeypatch.setattr(CudaBindings, "captures", False)
    gpu.log.clear()
    with TensorRTEngine(spec, threads=1) as engine, pytest.raises(MissingError, match="no calls"):
        engine.prepare({"x": X})
    assert not any(call.startswith("build") for call in gpu.log), "before any work"


def test_each_build_may_be_measured(gpu: FakeGpu, tmp_path: Path) -> None:
    spec = EngineSpec("t", "tensorrt", _onnx(tmp_path / "m.onnx"), options={"rebuild": True})
    with TensorRTEngine(spec, threads=1) as engine:
        engine.prepare({"x": X})
        assert engine.facts()["engine_from_cache"] is False


def test_what_is_missing_is_said_before_any_work(
    gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(spin: bool) -> None:
        raise MissingError("no driver")

    monkeypatch.setattr(cuda, "find", nothing)
    spec = EngineSpec("t", "tensorrt", tmp_path / "gone.onnx")
    with TensorRTEngine(spec, threads=1) as engine, pytest.raises(MissingError, match="no driver"):
        engine.prepare({"x": X})


def test_a_comparison_leaves_out_what_is_not_here(onnx: Path) -> None:
    if device.find() is not None:
        pytest.skip("there is a GPU")
    names = ["tensorrt", "tensorrt-rtx", "onnxruntime:cuda", "onnxruntime:tensorrt", "onnxruntime"]
    specs = [EngineSpec(name, name, onnx) for name in names]
    options = CompareOptions(threads=1, seconds=0.1, rounds=2, processes=1, warmup_limit=0.2)
    result = compare(specs, onnx, options=options)
    assert [engine.name for engine in result.engines] == ["onnxruntime"]
    left = {item.name: (item.why, item.reason) for item in result.left_out}
    assert {why for why, _ in left.values()} == {"missing"}
    assert "onnxruntime-gpu" in left["onnxruntime:cuda"][1]
    for name in ("tensorrt", "tensorrt-rtx"):
        # A package, or with all of them the driver.
        assert "install" in left[name][1]


def test_the_slowest_layers_come_first_with_their_share() -> None:
    found = slowest([Layer("a", 1.0), Layer("b", 3.0), *[Layer("c", 0.0)] * 20])
    assert len(found) == 10
    assert found[0] == {"name": "b", "ms": 3.0, "share": 0.75}
    assert slowest([]) == []
