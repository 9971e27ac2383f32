"""Runs an engine on this machine's GPU, and times it as trtexec does.

One stream and one run at a time, as with ``trtexec --exposeDMA``. The facts state transfers,
spin-wait and CUDA graph, because trtexec's defaults changed in 11.0. Inputs are in pinned memory.
Events on the stream give, for each run:

- **GPU compute**: from before the engine is enqueued until it is done, on the GPU's clock;
- **latency**: host-to-device copies, GPU compute and device-to-host copies.

The host's clock gives the time to enqueue, and the time until the host knows that the run is done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.tensorrt import context as contexts
from tvmkd.tensorrt.context import Shape, Tensor
from tvmkd.tensorrt.cuda_runtime import CudaError, CudaRuntime, Graph

if TYPE_CHECKING:
    from tvmkd.tensorrt.api import Bindings

Arrays = Mapping[str, np.ndarray]

# TensorRT 8.x has neither type: it reads an ONNX file's int64 as int32, float64 as float32.
NARROWED = {"int64": "int32", "float64": "float32"}
WARM_UP = 10


class Timing(NamedTuple):
    """Milliseconds of one run."""

    h2d: float
    compute: float
    d2h: float
    enqueue: float
    host: float

    @property
    def latency(self) -> float:
        """trtexec's latency: copies and compute, on the GPU's clock."""
        return self.h2d + self.compute + self.d2h


@dataclass(frozen=True)
class Layer:
    """A layer of the engine after fusion: its name and its median time in milliseconds."""

    name: str
    ms: float


class _Buffer:
    """One tensor's memory, on the host (pinned) and on the GPU."""

    def __init__(self, cuda: CudaRuntime, tensor: Tensor) -> None:
        self._cuda, self.tensor = cuda, tensor
        self._address: int | None = None
        self._pinned: np.ndarray | None = None
        self.host = np.empty(0, tensor.dtype)

    def fit(self, shape: Shape) -> None:
        """Allocates memory for ``shape``; the address changes only if there is too little."""
        size = max(1, int(np.prod(shape)) * self.tensor.dtype.itemsize)
        if self._address is None or self._pinned is None or self._pinned.nbytes < size:
            self.close()
            self._pinned = self._cuda.pin(size)
            self._address = self._cuda.malloc(size)
        count = int(np.prod(shape)) * self.tensor.dtype.itemsize
        self.host = self._pinned[:count].view(self.tensor.dtype).reshape(shape)

    @property
    def address(self) -> int:
        assert self._address is not None
        return self._address

    def close(self) -> None:
        address, pinned = self._address, self._pinned
        self._address = self._pinned = None
        # If freeing one fails, the other is freed all the same.
        with contextlib.suppress(CudaError):
            if address is not None:
                self._cuda.free(address)
        with contextlib.suppress(CudaError):
            if pinned is not None:
                self._cuda.unpin(pinned)


class Runner:
    """An engine with its memory and its stream. Use as a context manager, in one thread.

    Args:
        plan: a serialised engine.
        bindings: the TensorRT package.
        cuda: the GPU; the caller closes it.
        graph: run through a CUDA graph if the engine and the package support it (see `graphed`).

    Attributes:
        inputs, outputs: the engine's tensors, by name.

    Raises:
        InputError: the plan is not for this TensorRT and GPU.
        CudaError: memory is full, or the GPU fails.
    """

    def __init__(
        self, plan: bytes, bindings: Bindings, cuda: CudaRuntime, *, graph: bool = False
    ) -> None:
        self._cuda, self._module = cuda, bindings.module
        self._context = contexts.load(plan, bindings)
        tensors = self._context.tensors
        self.inputs = {tensor.name: tensor for tensor in tensors if tensor.is_input}
        self.outputs = {tensor.name: tensor for tensor in tensors if not tensor.is_input}
        self._buffers = {tensor.name: _Buffer(cuda, tensor) for tensor in tensors}
        self._shapes: dict[str, Shape] | None = None
        self._wants_graph = graph
        self._graph: Graph | None = None
        self.no_graph: str | None = None if graph else "not asked for"
        """Why there is no CUDA graph; None if there is one, or before the first run."""
        self._events: list[Any] = []
        self._stream = cuda.stream()
        self._address = cuda.stream_address(self._stream)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees all memory; errors of a failed GPU are not raised again."""
        self._drop_graph()
        for buffer in self._buffers.values():
            buffer.close()
        events, self._events = self._events, []
        for event in events:
            with contextlib.suppress(CudaError):
                self._cuda.destroy_event(event)
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(CudaError):
                self._cuda.destroy_stream(stream)

    @property
    def graphed(self) -> bool:
        """Whether runs use a CUDA graph now."""
        return self._graph is not None

    def facts(self) -> dict[str, Any]:
        """How runs are made and timed, and facts of the engine. JSON-safe."""
        return {
            **self._context.facts(),
            "cuda_package": self._cuda.package,
            "spin_wait": self._cuda.spin,
            "transfers": "from and to pinned memory, on the engine's stream, never overlapping",
            "cuda_graph": self.graphed,
            "no_cuda_graph_because": self.no_graph,
        }

    def infer(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs once and returns the outputs by name; the caller owns the arrays.

        Args:
            inputs: an array for each input, of the engine's dtype, or of the model's int64 or
                float64 where the engine uses the narrower type. Free sizes may differ between
                calls.

        Raises:
            InputError: a name, a dtype or a shape is not the engine's.
            CudaError: memory is full, or the GPU fails.
            TvmkdError: TensorRT does not run the engine.
        """
        self._load(inputs)
        self._copy_in()
        self._compute()
        self._copy_out()
        self._cuda.synchronize(self._stream)
        return {name: self._buffers[name].host.copy() for name in self.outputs}

    def time(self, inputs: Arrays, count: int, limit_s: float | None = None) -> list[Timing]:
        """Times ``count`` runs on the same inputs, or as many as start within ``limit_s``.

        `WARM_UP` runs before them are not counted. Raises as `infer`.
        """
        cuda, stream = self._cuda, self._stream
        self.infer(inputs)
        for _ in range(WARM_UP):
            self._compute()
        cuda.synchronize(stream)
        while len(self._events) < 4:
            self._events.append(cuda.event())
        before_in, after_in, after_compute, after_out = self._events
        found: list[Timing] = []
        end = None if limit_s is None else perf_counter_ns() + int(limit_s * 1e9)
        while len(found) < count and (end is None or not found or perf_counter_ns() < end):
            start = perf_counter_ns()
            cuda.record(before_in, stream)
            self._copy_in()
            cuda.record(after_in, stream)
            enqueue = perf_counter_ns()
            self._compute()
            enqueued = perf_counter_ns()
            cuda.record(after_compute, stream)
            self._copy_out()
            cuda.record(after_out, stream)
            cuda.synchronize(stream)
            done = perf_counter_ns()
            found.append(
                Timing(
                    cuda.elapsed_ms(before_in, after_in),
                    cuda.elapsed_ms(after_in, after_compute),
                    cuda.elapsed_ms(after_compute, after_out),
                    (enqueued - enqueue) / 1e6,
                    (done - start) / 1e6,
                )
            )
        return found

    def profile(self, inputs: Arrays, count: int = 20) -> list[Layer]:
        """Each layer's median time over ``count`` runs, in the engine's order.

        Profiling slows an engine down, so these are separate runs in a separate execution context.
        Raises as `infer`.
        """
        listener = contexts.layer_listener(self._module)
        self._renew()
        try:
            self._load(inputs, graph=False)
            self._copy_in()
            self._cuda.synchronize(self._stream)
            self._context.profile_with(listener)
            addresses = [buffer.address for buffer in self._buffers.values()]
            runs = []
            for number in range(count + 1):
                listener.times.clear()
                if not self._context.execute(addresses):
                    raise TvmkdError(f"TensorRT does not run the engine: {self._context.said()}")
                if number:  # the first one is a warm-up
                    runs.append(list(listener.times))
        finally:
            self._renew()
        # By position, because two layers may have the same name.
        return [
            Layer(steps[0][0], median(ms for _, ms in steps)) for steps in zip(*runs, strict=True)
        ]

    def _renew(self) -> None:
        self._drop_graph()
        self._shapes = None
        self._context.renew()

    def _load(self, inputs: Arrays, graph: bool = True) -> None:
        """Prepares shapes, memory and CUDA graph, and copies the inputs to pinned memory."""
        if set(inputs) != set(self.inputs):
            given, wanted = sorted(inputs), sorted(self.inputs)
            raise InputError(
                f"the inputs of the engine are {', '.join(wanted)}, not {', '.join(given)}"
            )
        fitting = {name: fit(inputs[name], tensor) for name, tensor in self.inputs.items()}
        shapes = {name: array.shape for name, array in fitting.items()}
        changed = shapes != self._shapes
        if changed:
            self._drop_graph()
            self._shapes = None
            for name, shape in self._context.set_shapes(shapes).items():
                self._buffers[name].fit(shape)
            self._context.set_addresses([buffer.address for buffer in self._buffers.values()])
            self._shapes = shapes
        for name, array in fitting.items():
            np.copyto(self._buffers[name].host, array)
        if changed and graph and self._wants_graph:
            self._capture()

    def _copy_in(self) -> None:
        for name in self.inputs:
            buffer = self._buffers[name]
            if buffer.host.nbytes:
                self._cuda.to_device(buffer.address, buffer.host, self._stream)

    def _copy_out(self) -> None:
        for name in self.outputs:
            buffer = self._buffers[name]
            if buffer.host.nbytes:
                self._cuda.to_host(buffer.host, buffer.address, self._stream)

    def _compute(self) -> None:
        if self._graph is not None:
            self._cuda.launch(self._graph, self._stream)
        elif not self._context.enqueue(self._address):
            raise TvmkdError(f"TensorRT does not run the engine: {self._context.said()}")

    def _capture(self) -> None:
        """Makes the CUDA graph; if that fails, stores the reason, and runs use no graph."""
        if not self._cuda.captures:
            self.no_graph = f"{self._cuda.package} has no calls for CUDA graphs"
            return
        # One run before: the graph must not contain what TensorRT sets up in its first run.
        self._copy_in()
        self._compute()
        self._cuda.synchronize(self._stream)
        self._cuda.begin_capture(self._stream)
        if not self._context.enqueue(self._address):
            self._cuda.abandon_capture(self._stream)
            self.no_graph = f"the engine cannot be captured: {self._context.said()}"
            return
        try:
            self._graph = self._cuda.end_capture(self._stream)
            self.no_graph = None
        except CudaError as error:
            self._cuda.abandon_capture(self._stream)
            self.no_graph = f"the engine cannot be captured: {error}"

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            with contextlib.suppress(CudaError):
                self._cuda.destroy_graph(graph)


def fit(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Converts an array to the engine's dtype.

    Raises:
        InputError: it has another dtype, or values that the narrower dtype cannot represent.
    """
    if array.dtype == tensor.dtype:
        return array
    if NARROWED.get(str(array.dtype)) != str(tensor.dtype):
        raise InputError(
            f"the input {tensor.name} of the engine is {tensor.dtype}, not {array.dtype}"
        )
    narrow = array.astype(tensor.dtype)
    if array.dtype.kind == "i" and not np.array_equal(narrow, array):
        raise InputError(f"{tensor.name} holds numbers that the engine's {tensor.dtype} cannot")
    return narrow


def summary(timings: list[Timing]) -> dict[str, Any]:
    """Median and 99th percentile of each part, in milliseconds. JSON-safe."""
    parts = {
        "gpu_compute_ms": [timing.compute for timing in timings],
        "latency_ms": [timing.latency for timing in timings],
        "h2d_ms": [timing.h2d for timing in timings],
        "d2h_ms": [timing.d2h for timing in timings],
        "enqueue_ms": [timing.enqueue for timing in timings],
        "host_ms": [timing.host for timing in timings],
    }
    figures = {
        name: {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99))}
        for name, values in parts.items()
    }
    return {"runs": len(timings), **figures}
