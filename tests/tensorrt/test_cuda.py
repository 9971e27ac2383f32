"""Both CUDA packages with the same fake GPU: they have the same results and errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fake_cudart import FakeCudart
from fake_gpu import FakeGpu
from fake_pycuda import FakePyCuda

from tvmkd.base.errors import MissingError
from tvmkd.tensorrt import cuda
from tvmkd.tensorrt.cuda_bindings import CudaBindings
from tvmkd.tensorrt.cuda_pycuda import PyCuda
from tvmkd.tensorrt.cuda_runtime import STICKY, CudaError, CudaRuntime, OutOfMemory

Open = Callable[..., CudaRuntime]


@pytest.fixture(params=["cuda-bindings", "pycuda"])
def opened(request: pytest.FixtureRequest) -> Open:
    if request.param == "pycuda":
        return lambda gpu, **options: PyCuda(FakePyCuda(gpu), **options)
    return lambda gpu, **options: CudaBindings(FakeCudart(gpu), **options)


def test_copies_are_done_after_synchronize(opened: Open) -> None:
    gpu = FakeGpu()
    runtime = opened(gpu)
    stream = runtime.stream()
    source, target, address = runtime.pin(8), runtime.pin(8), runtime.malloc(8)
    source[:] = np.arange(8)
    start, end = runtime.event(), runtime.event()
    runtime.record(start, stream)
    runtime.to_device(address, source, stream)
    runtime.to_host(target, address, stream)
    runtime.record(end, stream)
    assert not np.array_equal(target, source)
    with pytest.raises(CudaError):
        runtime.elapsed_ms(start, end)
    runtime.synchronize(stream)
    np.testing.assert_array_equal(target, source)
    assert runtime.elapsed_ms(start, end) == pytest.approx(0.375)
    free, total = runtime.memory()
    assert total - free == 8
    runtime.free(address)
    for array in (source, target):
        runtime.unpin(array)
    for event in (start, end):
        runtime.destroy_event(event)
    runtime.destroy_stream(stream)
    del stream, start, end, event
    runtime.close()
    assert gpu.held() == {}


def test_the_host_spins_or_blocks_as_requested() -> None:
    for spin, wanted in ((True, {"device": 1, "event": 0}), (False, {"device": 4, "event": 1})):
        api = FakeCudart(FakeGpu())
        CudaBindings(api, spin).event()
        assert api.flags == wanted
    for spin, call in ((True, "cuStreamQuery"), (False, "cuEventSynchronize")):
        gpu = FakeGpu()
        runtime = PyCuda(FakePyCuda(gpu), spin)
        stream = runtime.stream()
        runtime.record(runtime.event(), stream)
        runtime.record(runtime.event(), stream)
        gpu.log.clear()
        runtime.synchronize(stream)
        assert call in gpu.log
        assert ("cuEventSynchronize" in gpu.log) != spin
        assert not gpu.streams[stream.handle].queue


def test_out_of_memory_has_its_own_class(opened: Open) -> None:
    runtime = opened(FakeGpu(memory=100))
    runtime.malloc(60)
    with pytest.raises(OutOfMemory, match=r"out of memory \(cudaErrorMemoryAllocation\)"):
        runtime.malloc(60)
    assert runtime.malloc(40)


def test_a_sticky_error_says_that_the_gpu_is_lost(opened: Open) -> None:
    gpu = FakeGpu()
    runtime = opened(gpu)
    stream, pinned = runtime.stream(), runtime.pin(4)
    runtime.to_device(12345, pinned, stream)
    with pytest.raises(CudaError, match=r"illegal memory access .* lost the GPU") as caught:
        runtime.synchronize(stream)
    assert caught.value.name in STICKY
    with pytest.raises(CudaError, match="lost the GPU"):
        runtime.malloc(1)
    gpu.lost = None


def test_a_graph_repeats_the_captured_work() -> None:
    gpu = FakeGpu()
    runtime = CudaBindings(FakeCudart(gpu))
    stream, pinned, address = runtime.stream(), runtime.pin(4), runtime.malloc(4)
    runtime.begin_capture(stream)
    runtime.to_device(address, pinned, stream)
    graph = runtime.end_capture(stream)
    pinned[:] = 7
    runtime.synchronize(stream)
    assert not (gpu.view(address, 4) == 7).any()
    runtime.launch(graph, stream)
    runtime.synchronize(stream)
    assert (gpu.view(address, 4) == 7).all()
    runtime.destroy_graph(graph)
    assert "graphs" not in gpu.held()
    runtime.begin_capture(stream)
    with pytest.raises(CudaError, match="StreamCaptureUnsupported"):
        runtime.malloc(1)
    runtime.abandon_capture(stream)
    runtime.malloc(1)


def _packages(monkeypatch: pytest.MonkeyPatch, **modules: Any) -> None:
    """Makes only these of the two packages importable."""
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    for package, (inner, api) in modules.items():
        parts = package.split("_")
        for depth in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:depth]), ModuleType(parts[depth - 1]))
        name = ".".join(parts)
        monkeypatch.setattr(sys.modules[name], inner, api, raising=False)
        monkeypatch.setitem(sys.modules, f"{name}.{inner}", api)
        if len(parts) == 1:
            continue
        monkeypatch.setattr(sys.modules[parts[0]], parts[1], sys.modules[name], raising=False)


def test_the_package_with_graphs_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = ("runtime", FakeCudart(FakeGpu()))
    pycuda = ("driver", FakePyCuda(FakeGpu()))
    _packages(monkeypatch, cuda_bindings=bindings, pycuda=pycuda)
    assert cuda.find().package == "cuda-bindings"
    _packages(monkeypatch, pycuda=pycuda)
    found = cuda.find(spin=False)
    assert (found.package, found.spin) == ("pycuda", False)


def test_a_missing_package_driver_or_gpu_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _packages(monkeypatch)
    with pytest.raises(MissingError, match=r"pip install cuda-bindings; or .*cuda\.h") as caught:
        cuda.find()
    assert caught.value.exit_code == 5
    old = FakeGpu()
    old.too_old = True
    for gpu, message in (
        (FakeGpu(driver=0), r"no NVIDIA driver: .*nvidia-smi"),
        (FakeGpu(devices=0), "finds no GPU"),
        (old, r"driver \(CUDA 12\.4\) is older .*'cuda-bindings==12\.\*'"),
    ):
        _packages(monkeypatch, cuda_bindings=("runtime", FakeCudart(gpu)))
        with pytest.raises(MissingError, match=message) as caught:
            cuda.find()
        assert "pycuda" not in str(caught.value)
