"""The protocol: both CUDA packages have the same results and errors with the same fake GPU."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_cudart import FakeCudart
from fake_gpu import FakeGpu
from fake_pycuda import FakePyCuda

from tvmkd.base.errors import TvmkdError
from tvmkd.tensorrt import cuda_runtime
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


METHODS = {
    name: each
    for name, each in vars(CudaRuntime).items()
    if inspect.isfunction(each) and not name.startswith("_")
}


@pytest.mark.parametrize("package", [CudaBindings, PyCuda])
@pytest.mark.parametrize("name", METHODS)
def test_each_package_has_every_call_with_the_same_arguments(package: Any, name: str) -> None:
    wanted = list(inspect.signature(METHODS[name]).parameters)
    assert list(inspect.signature(getattr(package, name)).parameters) == wanted


@pytest.mark.parametrize(
    ("name", "kind", "lost"),
    [
        ("cudaErrorMemoryAllocation", OutOfMemory, False),
        ("cudaErrorInvalidValue", CudaError, False),
        ("cudaErrorNotReady", CudaError, False),
        *((name, CudaError, True) for name in sorted(STICKY)),
    ],
)
def test_an_error_names_the_call_and_says_if_the_gpu_is_lost(
    name: str, kind: type[CudaError], lost: bool
) -> None:
    made = cuda_runtime.error("cudaMalloc", name, "went wrong")
    assert type(made) is kind
    assert isinstance(made, TvmkdError)
    assert made.name == name
    tail = "; this process has lost the GPU: start it again" if lost else ""
    assert str(made) == f"CUDA: cudaMalloc: went wrong ({name}){tail}"


def test_the_names_of_lasting_errors_are_cuda_s() -> None:
    runtime = pytest.importorskip(
        "cuda.bindings.runtime", reason="cuda-bindings is not installed: pip install cuda-bindings"
    )
    unknown = {name for name in STICKY if not hasattr(runtime.cudaError_t, name)}
    assert unknown == set()


@pytest.mark.parametrize(
    ("number", "text"), [(12040, "12.4"), (10020, "10.2"), (13000, "13.0"), (11080, "11.8")]
)
def test_versions_as_people_write_them(number: int, text: str) -> None:
    assert cuda_runtime.version_text(number) == text
