"""Fake TensorRT packages on a `FakeGpu`: the calls that run an engine, in each generation.

An engine here is JSON. It computes ``twice = 2 * x`` and ``total = x.sum(axis=1)`` of one float32
input of any batch, and an index of int32 that picks nothing where the JSON asks for one.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_gpu import FakeGpu

from tvmkd.tensorrt.api import Bindings

GENERATIONS = {"8.2": "8.2.1.8", "8.6": "8.6.1", "10": "10.3.0", "rtx": "1.7.1.116"}
KERNEL_MS = 1.0

INDEXED = {
    "engine": {
        "get_binding_name": ["index"],
        "get_binding_index": ["name"],
        "binding_is_input": ["index"],
        "get_binding_shape": ["index"],
        "get_binding_dtype": ["index"],
        "is_shape_binding": ["binding"],
        "get_profile_shape": ["profile_index", "binding"],
    },
    "context": {
        "execute_async_v2": ["bindings", "stream_handle", "input_consumed"],
        "set_binding_shape": ["binding", "shape"],
        "get_binding_shape": ["binding"],
    },
}
"""Arguments after self, from NVIDIA/TensorRT's python/src/infer/pyCore.cpp at tag 8.2.1."""

NAMED = {
    "engine": {
        "get_tensor_name": ["index"],
        "get_tensor_mode": ["name"],
        "is_shape_inference_io": ["name"],
        "get_tensor_shape": ["name"],
        "get_tensor_dtype": ["name"],
        "get_tensor_profile_shape": ["name", "profile_index"],
    },
    "context": {
        "execute_async_v3": ["stream_handle"],
        "set_input_shape": ["name", "shape"],
        "get_tensor_shape": ["name"],
        "set_tensor_address": ["name", "memory"],
    },
}
"""The same of releases 10.0 to 10.16; tensorrt-rtx 1.7.1's own documentation agrees."""

EVERY = {"context": {"execute_v2": ["bindings"]}}


def plan(
    version: str,
    *,
    dtypes: tuple[str, str] = ("FLOAT", "FLOAT"),
    batch: tuple[int, int] | None = None,
    shape_tensor: bool = False,
    unknown: bool = False,
) -> bytes:
    """An engine for one version; with ``batch``, from the first to the last of them."""
    return json.dumps(
        {
            "version": version,
            "dtypes": dtypes,
            "batch": batch,
            "shape_tensor": shape_tensor,
            "unknown": unknown,
        }
    ).encode()


def bindings(generation: str, gpu: FakeGpu) -> Bindings:
    """The fake package, as `tvmkd.tensorrt.api.find` returns one."""
    package = module(generation, gpu)
    product: Any = "tensorrt-rtx" if generation == "rtx" else "tensorrt"
    return Bindings(package, product, package.__version__)


def module(generation: str, gpu: FakeGpu) -> Any:
    """A package: ``Runtime``, ``ILogger``, ``IProfiler``, ``IExecutionContext`` and the enums."""
    version = GENERATIONS[generation]
    sizes = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32}

    class ILogger:
        INTERNAL_ERROR, ERROR, INFO = 0, 1, 3

    class IProfiler:
        pass

    class TensorIOMode:
        INPUT, OUTPUT = "INPUT", "OUTPUT"

    class Engine:
        def __init__(self, spec: dict[str, Any], log: Any) -> None:
            self._spec, self._log = spec, log
            self.num_layers = 2
            self.num_optimization_profiles = 1
            first = -1 if spec["batch"] else 2
            inner, outer = spec["dtypes"]
            self._io = [
                ("x", (first, 4), inner, True),
                ("twice", (first, 4), outer, False),
                ("total", (first,), outer, False),
            ]

        def _contexts(self) -> Any:
            return Context(self, self._log)

        def _row(self, key: Any) -> tuple[str, tuple[int, ...], str, bool]:
            return next(row for row in self._io if key in (row[0], self._io.index(row)))

        def _limits(self) -> list[tuple[int, int]]:
            low, high = self._spec["batch"]
            return [(low, 4), (low, 4), (high, 4)]

    class IndexedEngine(Engine):
        num_bindings = 3
        device_memory_size = 512

        def get_binding_name(self, index: int) -> str:
            return self._io[index][0]

        def get_binding_index(self, name: str) -> int:
            return [row[0] for row in self._io].index(name)

        def binding_is_input(self, index: int) -> bool:
            return self._io[index][3]

        def get_binding_shape(self, index: int) -> tuple[int, ...]:
            return self._io[index][1]

        def get_binding_dtype(self, index: int) -> Any:
            return SimpleNamespace(name=self._io[index][2])

        def is_shape_binding(self, binding: int) -> bool:
            return bool(self._spec["shape_tensor"])

        def get_profile_shape(self, profile_index: int, binding: Any) -> list[tuple[int, int]]:
            assert profile_index == 0
            return self._limits()

        def create_execution_context(self) -> Any:
            return self._contexts()

    class NamedEngine(Engine):
        num_io_tensors = 3
        device_memory_size_v2 = 512

        def get_tensor_name(self, index: int) -> str:
            return self._io[index][0]

        def get_tensor_mode(self, name: str) -> str:
            return TensorIOMode.INPUT if self._row(name)[3] else TensorIOMode.OUTPUT

        def is_shape_inference_io(self, name: str) -> bool:
            return bool(self._spec["shape_tensor"])

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._row(name)[1]

        def get_tensor_dtype(self, name: str) -> Any:
            return SimpleNamespace(name=self._row(name)[2])

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, int]]:
            assert profile_index == 0
            return self._limits()

        def create_execution_context(self, strategy: Any = None) -> Any:
            return self._contexts()

    class BothEngine(IndexedEngine, NamedEngine):
        pass

    class BaseContext:
        profiler: Any = None
        refuses = False

        def __init__(self, engine: Engine, log: Any) -> None:
            self._engine, self._log = engine, log
            first = engine._io[0][1][0]
            self._batch = None if first == -1 else first

        def _said(self, text: str) -> bool:
            self._log.log(ILogger.ERROR, text)
            return False

        def _set(self, shape: Any) -> bool:
            assert isinstance(shape, (tuple, list))
            low, high = self._engine._spec["batch"] or (2, 2)
            if not low <= shape[0] <= high or tuple(shape[1:]) != (4,):
                return self._said("3: [executionContext.cpp::validateInputBindings] bad shape")
            self._batch = shape[0]
            return True

        def _now(self, key: Any) -> tuple[int, ...]:
            shape = self._engine._row(key)[1]
            first = -1 if self._batch is None or self._engine._spec["unknown"] else self._batch
            return (first, *shape[1:]) if key not in (0, "x") else (self._batch or -1, *shape[1:])

        def _work(self, addresses: list[int]) -> Callable[[], None]:
            rows, batch = self._engine._io, self._batch

            def compute() -> None:
                x, twice, total = (
                    gpu.view(
                        at, int(np.prod((batch, *row[1][1:]))) * np.dtype(sizes[row[2]]).itemsize
                    )
                    .view(sizes[row[2]])
                    .reshape(batch, *row[1][1:])
                    for at, row in zip(addresses, rows, strict=True)
                )
                twice[:] = 2 * x
                total[:] = x.sum(axis=1)
                gpu.clock += KERNEL_MS

            return compute

        def _ready(self) -> bool:
            if self.refuses:
                return self._said("Error Code 1: Cuda Runtime (operation not permitted)")
            if self._batch is None:
                return self._said("Parameter check failed: input dimensions not specified")
            return True

        def execute_v2(self, bindings: list[int]) -> bool:
            if not self._ready():
                return False
            gpu.called("execute_v2")
            self._work(bindings)()
            if self.profiler is not None:
                self.profiler.report_layer_time("twice", 0.5)
                self.profiler.report_layer_time("total", 0.25)
            return True

    class IndexedContext(BaseContext):
        def execute_async_v2(
            self, bindings: list[int], stream_handle: int, input_consumed: Any = None
        ) -> bool:
            if not self._ready():
                return False
            gpu.called("execute_async_v2")
            gpu.put(stream_handle, self._work(list(bindings)))
            return True

        def set_binding_shape(self, binding: int, shape: Any) -> bool:
            assert binding == 0
            return self._set(shape)

        def get_binding_shape(self, binding: int) -> tuple[int, ...]:
            return self._now(binding)

    class NamedContext(BaseContext):
        def __init__(self, engine: Engine, log: Any) -> None:
            super().__init__(engine, log)
            self._addresses: dict[str, int] = {}

        def execute_async_v3(self, stream_handle: int) -> bool:
            if not self._ready():
                return False
            missing = [row[0] for row in self._engine._io if row[0] not in self._addresses]
            if missing:
                return self._said(f"Error Code 3: no address for {missing[0]}")
            gpu.called("execute_async_v3")
            gpu.put(
                stream_handle, self._work([self._addresses[row[0]] for row in self._engine._io])
            )
            return True

        def set_input_shape(self, name: str, shape: Any) -> bool:
            assert name == "x"
            return self._set(shape)

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._now(name)

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return True

    class BothContext(IndexedContext, NamedContext):
        pass

    Engine_, Context = {
        "8.2": (IndexedEngine, IndexedContext),
        "8.6": (BothEngine, BothContext),
        "10": (NamedEngine, NamedContext),
        "rtx": (NamedEngine, NamedContext),
    }[generation]

    class Runtime:
        def __init__(self, logger: Any) -> None:
            if not gpu.driver:
                logger.log(ILogger.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
            self._logger.log(ILogger.INFO, "Loaded engine size: 0 MiB")
            spec = json.loads(serialized_engine)
            if spec["version"] != version:
                self._logger.log(
                    ILogger.ERROR,
                    f"6: The engine plan file is not compatible with this version of TensorRT, "
                    f"expecting library version {version} got {spec['version']}, please rebuild.",
                )
                self._logger.log(ILogger.ERROR, "4: deserializeCudaEngineFromBlob failed")
                return None
            return Engine_(spec, self._logger)

    return SimpleNamespace(
        __name__="tensorrt_rtx" if generation == "rtx" else "tensorrt",
        __version__=version,
        ILogger=ILogger,
        IProfiler=IProfiler,
        IExecutionContext=Context,
        ICudaEngine=Engine_,
        TensorIOMode=TensorIOMode,
        Runtime=Runtime,
    )


def arguments(method: Any) -> list[str]:
    """The parameters of a Python function, or of the first overload in pybind11's documentation."""
    try:
        return list(inspect.signature(method).parameters)[1:]
    except (TypeError, ValueError):
        lines = [line for line in method.__doc__.splitlines() if "(self" in line]
        inside = lines[0].partition("(")[2].rpartition(") ->")[0]
        found, depth, word = [], 0, ""
        for letter in inside + ",":
            depth += (letter in "[(") - (letter in ")]")
            if letter == "," and not depth:
                found.append(word.partition(":")[0].strip())
                word = ""
            else:
                word += letter
        return found[1:]
