"""Runs an engine on this machine's GPU, and times it as trtexec does.

One stream, one run at a time, as ``trtexec --exposeDMA`` (transfers, spin-wait and the CUDA graph
are stated, since trtexec's defaults for them changed at 11.0). Inputs wait in pinned memory. Events
on the stream give, for each run:

- **GPU compute**: from before the engine is enqueued until it is done, on the GPU's clock;
- **latency**: host-to-device copies, GPU compute and device-to-host copies;

and the host's clock gives the time to enqueue, and that of it all until the host knows it is done.
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

# TensorRT 8.x has neither: what an ONNX file holds in these it takes in the other.
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
        """trtexec's: copies and compute, on the GPU's clock."""
        return self.h2d + self.compute + self.d2h


@dataclass(frozen=True)
class Layer:
    """A layer of the engine after fusion: its name there, and the median of its milliseconds."""

    name: str
    ms: float


class _Buffer:
    """One tensor's memory, here and there."""

    def __init__(self, cuda: CudaRuntime, tensor: Tensor) -> None:
        self._cuda, self.tensor = cuda, tensor
        self._address: int | None = None
        self._pinned: np.ndarray | None = None
        self.host = np.empty(0, tensor.dtype)

    def fit(self, shape: Shape) -> None:
        """Makes room for ``shape``; the address changes only where there was too little."""
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
        # Whatever CUDA thinks of one of them, the other goes back too.
        with contextlib.suppress(CudaError):
            if address is not None:
                self._cuda.free(address)
        with contextlib.suppress(CudaError):
            if pinned is not None:
                self._cuda.unpin(pinned)


class Runner:
    """An engine with its memory and its stream. Use as a context manager, on one thread.

    Args:
        plan: a serialised engine.
        bindings: the TensorRT package to run it with.
        cuda: the GPU; it stays the caller's to close.
        graph: run through a CUDA graph, where the engine and the package let it be made (see
            `graphed`).

    Attributes:
        inputs, outputs: the engine's tensors, by name.

    Raises:
        InputError: the plan is none for this TensorRT and GPU.
        CudaError: there is no memory, or the GPU fails.
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
        """Why there is no CUDA graph; None where there is one, or none was tried yet."""
        self._events: list[Any] = []
        self._stream = cuda.stream()
        self._address = cuda.stream_address(self._stream)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives all memory back. An error of the GPU that ended the work does not come again."""
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
        """Whether runs go through a CUDA graph now."""
        return self._graph is not None

    def facts(self) -> dict[str, Any]:
        """How runs are made and timed, and what the engine is. JSON-safe."""
        return {
            **self._context.facts(),
            "cuda_package": self._cuda.package,
            "spin_wait": self._cuda.spin,
            "transfers": "from and to pinned memory, on the engine's stream, never overlapping",
            "cuda_graph": self.graphed,
            "no_cuda_graph_because": self.no_graph,
        }

    def infer(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """One run: outputs by name, as arrays of the caller's own.

        Args:
            inputs: each input's array; of the engine's type, or of the wider one that it narrowed
                (int64, float64). Shapes may differ from call to call where the engine's do.

        Raises:
            InputError: a name, a type or a shape is none of the engine's.
            CudaError: there is no memory, or the GPU failed.
            TvmkdError: TensorRT refused to run.
        """
        self._load(inputs)
        self._copy_in()
        self._compute()
        self._copy_out()
        self._cuda.synchronize(self._stream)
        return {name: self._buffers[name].host.copy() for name in self.outputs}

    def time(self, inputs: Arrays, count: int, limit_s: float | None = None) -> list[Timing]:
        """Times ``count`` runs on the same inputs, or as many as begin within ``limit_s``.

        A few runs that do not count come first. Raises as `infer`.
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
        """Each layer's time over ``count`` runs, in the engine's order.

        Runs of their own, in an execution context of their own: being watched slows an engine
        down. Raises as `infer`.
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
        # By position: two layers may have the same name.
        return [
            Layer(steps[0][0], median(ms for _, ms in steps)) for steps in zip(*runs, strict=True)
        ]

    def _renew(self) -> None:
        self._drop_graph()
        self._shapes = None
        self._context.renew()

    def _load(self, inputs: Arrays, graph: bool = True) -> None:
        """Shapes, memory and the CUDA graph for these inputs, and their values in pinned memory."""
        if set(inputs) != set(self.inputs):
            given, wanted = sorted(inputs), sorted(self.inputs)
            raise InputError(f"the engine takes {', '.join(wanted)}, given {', '.join(given)}")
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
        """Makes the CUDA graph; where that fails, notes why, and runs go without."""
        if not self._cuda.captures:
            self.no_graph = f"{self._cuda.package} has no calls for CUDA graphs"
            return
        # Once before: what TensorRT sets up at its first run must not be in the graph.
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
    """The array in the engine's type.

    Raises:
        InputError: it is of another type, or holds what the narrower one cannot.
    """
    if array.dtype == tensor.dtype:
        return array
    if NARROWED.get(str(array.dtype)) != str(tensor.dtype):
        raise InputError(f"the engine takes {tensor.name} as {tensor.dtype}, not as {array.dtype}")
    narrow = array.astype(tensor.dtype)
    if array.dtype.kind == "i" and not np.array_equal(narrow, array):
        raise InputError(f"{tensor.name} holds numbers that the engine's {tensor.dtype} cannot")
    return narrow


def summary(timings: list[Timing]) -> dict[str, Any]:
    """Medians and the 99th percentiles of each part, in milliseconds. JSON-safe."""
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
