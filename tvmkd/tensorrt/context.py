"""One way to run an engine, over the two that TensorRT has had.

8.x numbers an engine's inputs and outputs ("bindings"); 8.5 brought names for them, which are all
that 10, 11 and TensorRT-RTX have. What the package at hand can do decides, never its version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.tensorrt.api import Bindings

Shape = tuple[int, ...]

DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


@dataclass(frozen=True)
class Tensor:
    """An input or output of an engine; sizes that are free are -1."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    is_input: bool


class Context:
    """An engine and one execution context of it.

    Args:
        plan: a serialised engine.
        bindings: the package that runs it.

    Attributes:
        tensors: inputs and outputs, in the engine's order, which all addresses come in.

    Raises:
        InputError: this TensorRT on this GPU cannot read the plan, or it is of a kind that is not
            run here; says why.
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, plan: bytes, bindings: Bindings) -> None:
        self._module, self._log = bindings.module, bindings.log
        self._log.clear()
        try:
            self._runtime = self._module.Runtime(self._log.handle)
        except TypeError:  # pybind11's word for a constructor that gave nothing
            raise InputError(f"{bindings.title} does not start: {self.said()}") from None
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise InputError(
                f"{bindings.title} cannot read the engine ({self.said()}): engines run only where "
                "they were built; build it here"
            )
        self._context: Any = None
        self.renew()
        self.tensors = tuple(self._tensor(index) for index in range(self._count()))

    def said(self) -> str:
        """TensorRT's first error since the last time, on one line."""
        why = self._log.why()
        self._log.clear()
        return why

    def renew(self) -> None:
        """A fresh execution context: shapes, addresses and the profiler have to be set again.

        Raises:
            TvmkdError: there is no memory for it.
        """
        # The old one first: up to 8.x, two may not use one optimisation profile at a time.
        self._context = None
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise TvmkdError(f"TensorRT gives no execution context: {self.said()}")

    def facts(self) -> dict[str, Any]:
        """``layers`` after fusion and ``activation_bytes`` on the GPU, None where not told."""
        memory = getattr(self._engine, "device_memory_size_v2", None)
        if memory is None:
            memory = getattr(self._engine, "device_memory_size", None)
        return {
            "layers": getattr(self._engine, "num_layers", None),
            "activation_bytes": memory,
        }

    def profile_with(self, profiler: Any) -> None:
        """Has each layer's time reported from here on, which slows the engine down."""
        self._context.profiler = profiler

    def set_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Fixes the inputs' shapes; those of all tensors.

        Raises:
            InputError: a shape is none that the engine was built for, or an output's shape is only
                known once it was computed.
        """
        for tensor in self.tensors:
            if tensor.is_input and not self._set_shape(tensor, shapes[tensor.name]):
                low, high = self._limits(tensor)
                raise InputError(
                    f"the engine takes {tensor.name} from {list(low)} to {list(high)}, not "
                    f"{list(shapes[tensor.name])}: build one for that size"
                )
        found = {tensor.name: self._shape(tensor) for tensor in self.tensors}
        for name, shape in found.items():
            if any(size < 0 for size in shape):
                raise InputError(
                    f"output {name} has a shape that depends on the data: not run here"
                )
        return found

    def execute(self, addresses: Sequence[int]) -> bool:
        """Runs once and waits (``execute_v2``, which every generation has)."""
        return bool(self._context.execute_v2(list(addresses)))

    def _set_shape(self, tensor: Tensor, shape: Shape) -> bool:
        if -1 not in tensor.shape:
            return tensor.shape == shape
        return len(shape) == len(tensor.shape) and self._accepts(tensor.name, shape)

    def _limits(self, tensor: Tensor) -> tuple[Shape, Shape]:
        """The least and the greatest shape."""
        if -1 not in tensor.shape:
            return tensor.shape, tensor.shape
        low, _, high = self._profile(tensor.name)
        return _sizes(low), _sizes(high)

    # What the two generations do each in their way.

    def set_addresses(self, addresses: Sequence[int]) -> None:
        """Where the tensors are on the GPU."""
        raise NotImplementedError

    def enqueue(self, stream: int) -> bool:
        """Puts one run on the stream; whether TensorRT took it."""
        raise NotImplementedError

    def _count(self) -> int:
        raise NotImplementedError

    def _tensor(self, index: int) -> Tensor:
        raise NotImplementedError

    def _accepts(self, name: str, shape: Shape) -> bool:
        raise NotImplementedError

    def _shape(self, tensor: Tensor) -> Shape:
        raise NotImplementedError

    def _profile(self, name: str) -> Any:
        raise NotImplementedError


class NamedContext(Context):
    """Tensors by name and ``execute_async_v3``: 8.5 and later."""

    def set_addresses(self, addresses: Sequence[int]) -> None:
        """``set_tensor_address``."""
        for tensor, address in zip(self.tensors, addresses, strict=True):
            if not self._context.set_tensor_address(tensor.name, address):
                raise TvmkdError(f"TensorRT takes no address for {tensor.name}: {self.said()}")

    def enqueue(self, stream: int) -> bool:
        """``execute_async_v3``."""
        return bool(self._context.execute_async_v3(stream))

    def _count(self) -> int:
        return int(self._engine.num_io_tensors)

    def _tensor(self, index: int) -> Tensor:
        engine = self._engine
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == self._module.TensorIOMode.INPUT
        if engine.is_shape_inference_io(name):
            raise _shape_tensor(name)
        shape = _sizes(engine.get_tensor_shape(name))
        return Tensor(name, _dtype(name, engine.get_tensor_dtype(name)), shape, is_input)

    def _accepts(self, name: str, shape: Shape) -> bool:
        return bool(self._context.set_input_shape(name, shape))

    def _shape(self, tensor: Tensor) -> Shape:
        return _sizes(self._context.get_tensor_shape(tensor.name))

    def _profile(self, name: str) -> Any:
        return self._engine.get_tensor_profile_shape(name, 0)


class IndexedContext(Context):
    """Bindings by number and ``execute_async_v2``: up to 8.4."""

    def set_addresses(self, addresses: Sequence[int]) -> None:
        """Kept for each run: they are an argument of it here."""
        self._addresses = list(addresses)

    def enqueue(self, stream: int) -> bool:
        """``execute_async_v2``."""
        return bool(self._context.execute_async_v2(self._addresses, stream))

    def _count(self) -> int:
        # Each optimisation profile has bindings of its own; the first one's come first.
        return int(self._engine.num_bindings) // int(self._engine.num_optimization_profiles)

    def _tensor(self, index: int) -> Tensor:
        engine = self._engine
        name = engine.get_binding_name(index)
        if engine.is_shape_binding(index):
            raise _shape_tensor(name)
        shape, is_input = _sizes(engine.get_binding_shape(index)), engine.binding_is_input(index)
        return Tensor(name, _dtype(name, engine.get_binding_dtype(index)), shape, bool(is_input))

    def _index(self, name: str) -> int:
        return int(self._engine.get_binding_index(name))

    def _accepts(self, name: str, shape: Shape) -> bool:
        return bool(self._context.set_binding_shape(self._index(name), shape))

    def _shape(self, tensor: Tensor) -> Shape:
        return _sizes(self._context.get_binding_shape(self._index(tensor.name)))

    def _profile(self, name: str) -> Any:
        return self._engine.get_profile_shape(0, name)


def load(plan: bytes, bindings: Bindings) -> Context:
    """The engine, ready to run. Raises as `Context`."""
    named = hasattr(bindings.module.IExecutionContext, "execute_async_v3")
    return (NamedContext if named else IndexedContext)(plan, bindings)


def layer_listener(module: Any) -> Any:
    """A profiler that keeps ``(layer, milliseconds)`` in ``times``, run after run."""

    class Listener(module.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProfiler.__init__(self)
            self.times: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.append((layer_name, ms))

    return Listener()


def _dtype(name: str, dtype: Any) -> np.dtype[Any]:
    # TensorRT's own nptype of 8.x wants numpy names that are gone.
    if dtype.name not in DTYPES:
        raise InputError(
            f"{name} is of type {dtype.name}, which numpy has not: cast it in the ONNX"
        )
    return np.dtype(DTYPES[dtype.name])


def _sizes(shape: Any) -> Shape:
    return tuple(int(size) for size in shape)


def _shape_tensor(name: str) -> InputError:
    return InputError(f"{name} is a shape, which TensorRT reads on the host: not run here")
