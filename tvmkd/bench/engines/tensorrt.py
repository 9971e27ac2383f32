"""TensorRT and TensorRT-RTX on this machine's NVIDIA GPU.

A timed call is what a user calls, as for every engine: numpy in, numpy out, including the copies to
and from pinned memory and the GPU. GPU times as trtexec defines them are in the facts; with the
option ``clock`` one of them becomes the sample instead.

Options: ``clock`` = "host" (default), "latency" or "compute" (see `tvmkd.tensorrt.runner`);
``cuda_graph`` (default False; with it, an engine that cannot be captured as a graph is left out);
``spin`` (default True: the host spins while the GPU works); ``rebuild`` (default False: reuse a
cached engine with the same key; True shows how much two builds differ); ``workspace_mib``.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, ClassVar

import numpy as np

from tvmkd.base.errors import InputError, MissingError
from tvmkd.bench.engines.base import Engine, Inputs
from tvmkd.tensorrt.api import PRODUCTS, Product
from tvmkd.tensorrt.runner import Runner, Timing, summary

CLOCKS = {
    "host": None,
    "latency": "host-to-device copies, GPU compute and device-to-host copies, on the GPU's clock",
    "compute": "GPU compute alone, on the GPU's clock",
}
TIMED_RUNS, TIMED_SECONDS, TOP_LAYERS = 200, 5.0, 10


class TensorRTEngine(Engine):
    """A plan built from the ONNX file, in a `Runner`."""

    device = "GPU"
    board_engine: ClassVar[str | None] = "tensorrt@board"
    built_here = True
    cuda_graphs = True
    precisions = ("tf32", "fp16", "int8")
    distribution = "tensorrt"
    how = PRODUCTS["tensorrt"][2]
    product: ClassVar[Product] = "tensorrt"
    _runner: Runner | None = None
    _cuda: Any = None

    def prepare(self, example: Inputs) -> None:
        """Finds the packages and the GPU, builds or loads the engine, and runs it once.

        Raises:
            MissingError: a package, the driver or the GPU is missing; raised before any work.
            InputError: TensorRT cannot build an engine of the model, or cannot capture it as a CUDA
                graph.
        """
        from tvmkd.tensorrt import api, builder, cache, cuda, device

        options = self.spec.options
        bindings = api.find(self.product)
        self._cuda = cuda.find(spin=options.get("spin", True))
        graph = options.get("cuda_graph", False)
        if graph and not self._cuda.captures:
            raise MissingError(
                f"{self._cuda.package} has no calls for CUDA graphs: pip install cuda-bindings, or "
                "compare without (--no-cuda-graph)"
            )
        free_before, _ = self._cuda.memory()
        path = self.path()
        wanted = builder.BuildOptions(
            precision=self.spec.precision,  # type: ignore[arg-type]
            workspace_mib=options.get("workspace_mib"),
            dims=free_sizes(path, example),
        )
        start = perf_counter()
        if options.get("rebuild", False):
            built, cached = builder.build(path, wanted, bindings, cuda=self._cuda), False
        else:
            built, cached = cache.get(path, wanted, bindings, cuda=self._cuda)
        engine_seconds = perf_counter() - start
        self._runner = Runner(built.plan, bindings, self._cuda, graph=graph)
        self._example = {name: np.asarray(array) for name, array in example.items()}
        self._names = [str(output["name"]) for output in built.outputs]
        self._size = built.size
        self.infer(example)
        if graph and not self._runner.graphed:
            raise InputError(f"{self._runner.no_graph}; compare without (--no-cuda-graph)")
        free_after, _ = self._cuda.memory()
        gpu = device.find()
        self._facts = {
            "version": bindings.version,
            "product": bindings.product,
            "precision": built.precision,
            "gpu": gpu.name if gpu else None,
            "compute_capability": gpu.compute_capability if gpu else None,
            "driver": gpu.driver if gpu else None,
            "engine_seconds": engine_seconds,
            "engine_build_seconds": built.seconds,
            "engine_from_cache": cached,
            "engine_layers": len(built.layers),
            "engine_notes": list(built.notes),
            "gpu_memory_bytes": max(0, free_before - free_after),
        }

    def _running(self) -> Runner:
        assert self._runner is not None, "prepare comes first"
        return self._runner

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Returns a function that runs the engine once, as `Runner.infer`."""
        runner, names, arrays = self._running(), self._names, dict(inputs)

        def call() -> list[np.ndarray]:
            outputs = runner.infer(arrays)
            return [outputs[name] for name in names]

        return call

    def times(self, call: Callable[[], Any], count: int, limit_ns: int | None = None) -> list[int]:
        """Times calls by the requested clock."""
        clock = self.spec.options.get("clock", "host")
        if CLOCKS[clock] is None:
            return super().times(call, count, limit_ns)
        limit_s = None if limit_ns is None else limit_ns / 1e9
        return nanoseconds(self._running().time(self._example, count, limit_s), clock)

    def facts(self) -> dict[str, Any]:
        """Version, GPU, build, trtexec's times, and the slowest layers."""
        runner = self._running()
        timings = runner.time(self._example, TIMED_RUNS, TIMED_SECONDS)
        return {
            **self._facts,
            **runner.facts(),
            "clock": self.spec.options.get("clock", "host"),
            "trtexec": summary(timings),
            "slowest_layers": slowest(runner.profile(self._example)),
        }

    def size_bytes(self) -> int | None:
        """Size of the plan, which is shipped in addition to TensorRT."""
        return self._size

    def close(self) -> None:
        """Releases the GPU."""
        if self._runner is not None:
            self._runner.close()
        if self._cuda is not None:
            self._cuda.close()


class TensorRTRtxEngine(TensorRTEngine):
    """The same engine with the TensorRT-RTX package."""

    board_engine = None
    distribution = "tensorrt-rtx"
    how = PRODUCTS["tensorrt-rtx"][2]
    product = "tensorrt-rtx"


def free_sizes(path: Any, example: Inputs) -> dict[str, int]:
    """The sizes of an ONNX file's free dimensions, taken from ``example``."""
    from tvmkd.export.check import parse
    from tvmkd.tensorrt.profiles import free_inputs

    return {
        size: example[name].shape[axis]
        for name, sizes in free_inputs(parse(path)).items()
        for axis, size in enumerate(sizes)
        if isinstance(size, str)
    }


def nanoseconds(timings: list[Timing], clock: str) -> list[int]:
    """The time of each run by one clock: "host", "latency" or "compute"."""
    return [max(1, round(getattr(timing, clock) * 1e6)) for timing in timings]


def slowest(layers: list[Any]) -> list[dict[str, Any]]:
    """The slowest layers, with their share of the total time of all layers."""
    whole = sum(layer.ms for layer in layers) or 1.0
    first = sorted(layers, key=lambda layer: -layer.ms)[:TOP_LAYERS]
    return [{"name": layer.name, "ms": layer.ms, "share": layer.ms / whole} for layer in first]
