"""One interface for the two ways in which TensorRT runs an engine.

TensorRT 8 numbers an engine's inputs and outputs ("bindings"). 8.5 added access by name, which is
the only way in 10, 11 and TensorRT-RTX. The code tests what the package supports, not its version.
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
    """An input or output of an engine; a free size is -1."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    is_input: bool


class Context:
    """An engine with one execution context.

    Args:
        plan: a serialised engine.
        bindings: the TensorRT package.

    Attributes:
        tensors: inputs and outputs in the engine's order; lists of addresses have the same order.

    Raises:
        InputError: this TensorRT on this GPU cannot read the plan, or the engine has tensors that
            are not supported here.
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, plan: bytes, bindings: Bindings) -> None:
        self._module, self._log = bindings.module, bindings.log
        self._log.clear()
        try:
            self._runtime = self._module.Runtime(self._log.handle)
        except TypeError:  # from pybind11, if the constructor returns null
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
        """TensorRT's first error since the last call, on one line."""
        why = self._log.why()
        self._log.clear()
        return why

    def renew(self) -> None:
        """Makes a new execution context; shapes, addresses and the profiler must be set again.

        Raises:
            TvmkdError: there is not enough memory.
        """
        # Deleted first: up to 8.x, two contexts must not use the same optimisation profile.
        self._context = None
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise TvmkdError(f"TensorRT makes no execution context: {self.said()}")

    def facts(self) -> dict[str, Any]:
        """``layers`` after fusion and ``activation_bytes`` on the GPU; None if not available."""
        memory = getattr(self._engine, "device_memory_size_v2", None)
        if memory is None:
            memory = getattr(self._engine, "device_memory_size", None)
        return {
            "layers": getattr(self._engine, "num_layers", None),
            "activation_bytes": memory,
        }

    def profile_with(self, profiler: Any) -> None:
        """Reports each layer's time to ``profiler`` from now on; this slows the engine down."""
        self._context.profiler = profiler

    def set_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Sets the inputs' shapes and returns the shapes of all tensors.

        Raises:
            InputError: the engine was not built for a shape, or an output's shape depends on the
                data.
        """
        for tensor in self.tensors:
            if tensor.is_input and not self._set_shape(tensor, shapes[tensor.name]):
                low, high = self._limits(tensor)
                raise InputError(
                    f"the input {tensor.name} of the engine has shapes from {list(low)} to "
                    f"{list(high)}, not {list(shapes[tensor.name])}: build one for that size"
                )
        found = {tensor.name: self._shape(tensor) for tensor in self.tensors}
        for name, shape in found.items():
            if any(size < 0 for size in shape):
                raise InputError(
                    f"output {name} has a shape that depends on the data: not supported"
                )
        return found

    def execute(self, addresses: Sequence[int]) -> bool:
        """Runs once and waits for the end (``execute_v2``, in every generation)."""
        return bool(self._context.execute_v2(list(addresses)))

    def _set_shape(self, tensor: Tensor, shape: Shape) -> bool:
        if -1 not in tensor.shape:
            return tensor.shape == shape
        return len(shape) == len(tensor.shape) and self._accepts(tensor.name, shape)

    def _limits(self, tensor: Tensor) -> tuple[Shape, Shape]:
        """The smallest and the largest shape."""
        if -1 not in tensor.shape:
            return tensor.shape, tensor.shape
        low, _, high = self._profile(tensor.name)
        return _sizes(low), _sizes(high)

    # The two generations implement these methods.

    def set_addresses(self, addresses: Sequence[int]) -> None:
        """Sets the tensors' addresses on the GPU."""
        raise NotImplementedError

    def enqueue(self, stream: int) -> bool:
        """Enqueues one run on the stream; False if TensorRT refuses."""
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
    """TensorRT 8.5 and later: tensors by name and ``execute_async_v3``."""

    def set_addresses(self, addresses: Sequence[int]) -> None:
        """``set_tensor_address``."""
        for tensor, address in zip(self.tensors, addresses, strict=True):
            if not self._context.set_tensor_address(tensor.name, address):
                raise TvmkdError(f"TensorRT refuses the address of {tensor.name}: {self.said()}")

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
    """TensorRT up to 8.4: bindings by number and ``execute_async_v2``."""

    def set_addresses(self, addresses: Sequence[int]) -> None:
        """Stores the addresses, which are an argument of each run here."""
        self._addresses = list(addresses)

    def enqueue(self, stream: int) -> bool:
        """``execute_async_v2``."""
        return bool(self._context.execute_async_v2(self._addresses, stream))

    def _count(self) -> int:
        # Each optimisation profile has its own bindings; those of profile 0 come first.
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
    """The `Context` for this generation. Raises as `Context`."""
    named = hasattr(bindings.module.IExecutionContext, "execute_async_v3")
    return (NamedContext if named else IndexedContext)(plan, bindings)


def layer_listener(module: Any) -> Any:
    """A profiler that appends ``(layer, milliseconds)`` to ``times`` in each run."""

    class Listener(module.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProfiler.__init__(self)
            self.times: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.append((layer_name, ms))

    return Listener()


def _dtype(name: str, dtype: Any) -> np.dtype[Any]:
    # nptype of TensorRT 8.x uses names that numpy has removed.
    if dtype.name not in DTYPES:
        raise InputError(
            f"{name} is of type {dtype.name}, which numpy has not: cast it in the ONNX"
        )
    return np.dtype(DTYPES[dtype.name])


def _sizes(shape: Any) -> Shape:
    return tuple(int(size) for size in shape)


def _shape_tensor(name: str) -> InputError:
    return InputError(f"{name} is a shape, which TensorRT reads on the host: not supported")
