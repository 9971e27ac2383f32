"""The calls of each generation, recorded from NVIDIA's sources."""

from __future__ import annotations

from typing import Any

import fake_engines
import pytest
from fake_gpu import FakeGpu

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.tensorrt import api, context


@pytest.mark.parametrize(
    ("generation", "recorded"),
    [
        *(("8.2", fake_engines.INDEXED), ("8.6", fake_engines.INDEXED)),
        *(("8.6", fake_engines.NAMED), ("10", fake_engines.NAMED), ("rtx", fake_engines.NAMED)),
        *((generation, fake_engines.EVERY) for generation in fake_engines.GENERATIONS),
    ],
)
def test_the_fakes_have_the_recorded_signatures(generation: str, recorded: Any) -> None:
    package = fake_engines.module(generation, FakeGpu())
    for what, kind in (("engine", package.ICudaEngine), ("context", package.IExecutionContext)):
        for name, wanted in recorded.get(what, {}).items():
            assert fake_engines.arguments(getattr(kind, name)) == wanted, name


def test_fakes_lack_the_calls_that_their_generation_lacks() -> None:
    old = fake_engines.module("8.2", FakeGpu())
    assert not hasattr(old.IExecutionContext, "execute_async_v3")
    for generation in ("10", "rtx"):
        new = fake_engines.module(generation, FakeGpu())
        assert not hasattr(new.IExecutionContext, "execute_async_v2")
        assert not hasattr(new.ICudaEngine, "num_bindings")


def test_tensorrt_rtx_has_the_recorded_signatures() -> None:
    real = pytest.importorskip(
        "tensorrt_rtx", reason="tensorrt-rtx is not installed: pip install tensorrt-rtx"
    )
    for what, kind in (("engine", real.ICudaEngine), ("context", real.IExecutionContext)):
        calls = {**fake_engines.NAMED[what], **fake_engines.EVERY.get(what, {})}
        for name, wanted in calls.items():
            assert fake_engines.arguments(getattr(kind, name)) == wanted, name
    assert not hasattr(real.IExecutionContext, "execute_async_v2")
    for name in ("num_io_tensors", "num_layers", "device_memory_size_v2"):
        assert hasattr(real.ICudaEngine, name)
    assert isinstance(context.layer_listener(real), real.IProfiler)
    with pytest.raises(InputError, match=r"TensorRT-RTX 1\..* cannot read the engine"):
        context.load(b"no engine", api.find("tensorrt-rtx"))


@pytest.mark.parametrize("generation", fake_engines.GENERATIONS)
def test_the_inputs_and_outputs_of_an_engine(generation: str) -> None:
    package = fake_engines.bindings(generation, FakeGpu())
    plan = fake_engines.plan(package.version, batch=(1, 8), dtypes=("INT32", "HALF"))
    loaded = context.load(plan, package)
    assert isinstance(loaded, context.IndexedContext) == (generation == "8.2")
    assert [(t.name, str(t.dtype), t.shape, t.is_input) for t in loaded.tensors] == [
        ("x", "int32", (-1, 4), True),
        ("twice", "float16", (-1, 4), False),
        ("total", "float16", (-1,), False),
    ]
    assert loaded.set_shapes({"x": (3, 4)}) == {"x": (3, 4), "twice": (3, 4), "total": (3,)}
    for shape in ((9, 4), (3, 5), (3,)):
        with pytest.raises(
            InputError, match=r"x of the engine has shapes from \[1, 4\] to \[8, 4\], not"
        ):
            loaded.set_shapes({"x": shape})
    assert loaded.facts() == {"layers": 2, "activation_bytes": 512}


@pytest.mark.parametrize("generation", fake_engines.GENERATIONS)
def test_an_engine_that_is_not_supported_is_an_error_with_the_reason(
    generation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = fake_engines.bindings(generation, FakeGpu())
    version = package.version
    with pytest.raises(InputError, match=r"expecting library version .* build it here"):
        context.load(fake_engines.plan("7.1.3"), package)
    with pytest.raises(InputError, match="x is a shape"):
        context.load(fake_engines.plan(version, shape_tensor=True), package)
    with pytest.raises(InputError, match="x is of type BF16"):
        context.load(fake_engines.plan(version, dtypes=("BF16", "FLOAT")), package)
    loaded = context.load(fake_engines.plan(version, batch=(1, 8), unknown=True), package)
    with pytest.raises(InputError, match="output twice has a shape that depends on the data"):
        loaded.set_shapes({"x": (1, 4)})
    monkeypatch.setattr(package.module.ICudaEngine, "create_execution_context", lambda self: None)
    with pytest.raises(TvmkdError, match="no execution context"):
        context.load(fake_engines.plan(version), package)
    no_driver = fake_engines.bindings(generation, FakeGpu(driver=0))
    with pytest.raises(InputError, match="does not start: CUDA initialization failure"):
        context.load(fake_engines.plan(version), no_driver)


def test_another_shape_for_a_fixed_input_is_an_error() -> None:
    package = fake_engines.bindings("10", FakeGpu())
    loaded = context.load(fake_engines.plan(package.version), package)
    loaded.set_shapes({"x": (2, 4)})
    with pytest.raises(
        InputError, match=r"x of the engine has shapes from \[2, 4\] to \[2, 4\], not \[3, 4\]"
    ):
        loaded.set_shapes({"x": (3, 4)})
