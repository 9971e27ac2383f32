"""Runs and times engines in each generation, with both CUDA packages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fake_engines
import numpy as np
import pytest
from fake_cudart import FakeCudart
from fake_gpu import FakeGpu
from fake_pycuda import FakePyCuda

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.tensorrt import cuda_runtime
from tvmkd.tensorrt.api import Bindings
from tvmkd.tensorrt.cuda_bindings import CudaBindings
from tvmkd.tensorrt.cuda_pycuda import PyCuda
from tvmkd.tensorrt.runner import Layer, Runner, summary

X = np.arange(8, dtype=np.float32).reshape(2, 4)


@dataclass
class Setting:
    gpu: FakeGpu
    runtime: Any
    package: Bindings

    def runner(self, *, graph: bool = False, **engine: Any) -> Runner:
        plan = fake_engines.plan(self.package.version, **engine)
        return Runner(plan, self.package, self.runtime, graph=graph)


def make(generation: str, package: str = "cuda-bindings", gpu: FakeGpu | None = None) -> Setting:
    gpu = gpu or FakeGpu()
    runtime = CudaBindings(FakeCudart(gpu))
    if package == "pycuda":
        return Setting(gpu, PyCuda(FakePyCuda(gpu)), fake_engines.bindings(generation, gpu))
    return Setting(gpu, runtime, fake_engines.bindings(generation, gpu))


@pytest.fixture(params=["cuda-bindings", "pycuda"])
def package(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=fake_engines.GENERATIONS)
def setting(request: pytest.FixtureRequest, package: str) -> Iterator[Setting]:
    made = make(request.param, package)
    yield made
    assert made.gpu.held() == {}, "something was not given back"


def check(outputs: dict[str, np.ndarray], x: np.ndarray) -> None:
    assert list(outputs) == ["twice", "total"]
    np.testing.assert_array_equal(outputs["twice"], 2 * x)
    np.testing.assert_array_equal(outputs["total"], x.sum(axis=1))


def test_outputs_are_right_and_owned_by_the_caller(setting: Setting) -> None:
    with setting.runner() as runner:
        first = runner.infer({"x": X})
        second = runner.infer({"x": X[:, ::-1] + 1})
    check(first, X)
    check(second, X[:, ::-1] + 1)
    enqueue = {"execute_async_v2", "execute_async_v3"} & set(setting.gpu.log)
    old = setting.package.version.startswith("8.2")
    assert enqueue == {"execute_async_v2" if old else "execute_async_v3"}


def test_the_batch_may_change_from_call_to_call(setting: Setting) -> None:
    with setting.runner(batch=(1, 8)) as runner:
        for batch in (2, 8, 1, 2):
            x = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)
            check(runner.infer({"x": x}), x)
        with pytest.raises(InputError, match=r"from \[1, 4\] to \[8, 4\]"):
            runner.infer({"x": np.zeros((9, 4), np.float32)})
        check(runner.infer({"x": X}), X)


def test_parts_add_up_to_trtexec_s_latency(setting: Setting) -> None:
    with setting.runner() as runner:
        found = runner.time({"x": X}, 5)
        assert len(found) == 5
        for timing in found:
            assert timing.h2d == pytest.approx(0.25)
            assert timing.compute == pytest.approx(fake_engines.KERNEL_MS)
            assert timing.d2h == pytest.approx(2 * 0.125)
            assert timing.latency == pytest.approx(1.5)
            assert 0 < timing.enqueue < timing.host
        assert len(runner.time({"x": X}, 1000, limit_s=1e-9)) == 1
        told = summary(found)
        assert told["runs"] == 5
        assert told["latency_ms"] == {"p50": pytest.approx(1.5), "p99": pytest.approx(1.5)}
        facts = runner.facts()
        assert (facts["spin_wait"], facts["cuda_graph"], facts["layers"]) == (True, False, 2)


def test_layers_are_timed_separately_and_the_profiler_is_removed(setting: Setting) -> None:
    with setting.runner(batch=(1, 8)) as runner:
        runner.infer({"x": X})
        log = setting.gpu.log
        log.clear()
        assert runner.profile({"x": X}, 3) == [Layer("twice", 0.5), Layer("total", 0.25)]
        assert log.count("execute_v2") == 4
        assert "execute_async_v2" not in log
        check(runner.infer({"x": X}), X)
        assert runner._context._context.profiler is None


@pytest.mark.parametrize("generation", fake_engines.GENERATIONS)
def test_a_graph_gives_the_same_outputs(generation: str) -> None:
    setting = make(generation)
    with setting.runner(graph=True, batch=(1, 8)) as runner:
        for batch in (2, 5, 5, 2):
            x = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)
            check(runner.infer({"x": x}), x)
            assert runner.graphed
        assert runner.time({"x": x}, 2)[0].compute == pytest.approx(fake_engines.KERNEL_MS)
        assert runner.profile({"x": x}, 1)
        check(runner.infer({"x": x}), x)
        assert runner.facts()["cuda_graph"] is True
        assert setting.gpu.log.count("cudaStreamBeginCapture") == 4
    assert setting.gpu.held() == {}


def test_an_engine_that_cannot_be_captured_runs_without_a_graph() -> None:
    setting = make("10")
    setting.gpu.capturable = False
    with setting.runner(graph=True) as runner:
        check(runner.infer({"x": X}), X)
        assert not runner.graphed
        assert "cannot be captured" in str(runner.facts()["no_cuda_graph_because"])
    setting = make("8.2", "pycuda")
    with setting.runner(graph=True) as runner:
        check(runner.infer({"x": X}), X)
        assert runner.no_graph == "pycuda has no calls for CUDA graphs"


def test_wrong_inputs_are_named(setting: Setting) -> None:
    with setting.runner(dtypes=("INT32", "INT32")) as runner:
        wide = X.astype(np.int64)
        check(runner.infer({"x": wide}), wide)
        with pytest.raises(InputError, match="x holds numbers"):
            runner.infer({"x": wide + 2**40})
        with pytest.raises(InputError, match="input x of the engine is int32, not float32"):
            runner.infer({"x": X})
        with pytest.raises(InputError, match="inputs of the engine are x, not y"):
            runner.infer({"y": wide})


def test_after_out_of_memory_nothing_stays_allocated(package: str) -> None:
    setting = make("10", package, FakeGpu(memory=100))
    with setting.runner(batch=(1, 8)) as runner:
        check(runner.infer({"x": X}), X)
        with pytest.raises(cuda_runtime.OutOfMemory):
            runner.infer({"x": np.zeros((8, 4), np.float32)})
        check(runner.infer({"x": X}), X)
    assert setting.gpu.held() == {}


def test_a_lost_gpu_is_one_error_and_close_does_not_hide_it(package: str) -> None:
    setting = make("10", package)
    runner = setting.runner()
    runner.infer({"x": X})
    setting.gpu.lost = "cudaErrorIllegalAddress"
    with pytest.raises(cuda_runtime.CudaError, match="lost the GPU"), runner:
        runner.infer({"x": X})


def test_a_run_that_tensorrt_refuses_is_an_error(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setting.package.module.IExecutionContext, "refuses", True)
    with setting.runner() as runner:
        with pytest.raises(TvmkdError, match=r"does not run the engine: .*not permitted"):
            runner.infer({"x": X})
        with pytest.raises(TvmkdError, match=r"does not run the engine: .*not permitted"):
            runner.profile({"x": X})
