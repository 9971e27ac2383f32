"""What runs a compiled library in this process, one class a stack: arrays in, arrays out."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tvmkd.errors import MissingError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


class Spec(Protocol):
    """An input: its name, shape (a string is a free dimension) and numpy dtype."""

    @property
    def name(self) -> str:
        """The input's name."""

    @property
    def shape(self) -> Sequence[int | str]:
        """Its sizes."""

    @property
    def dtype(self) -> str:
        """Its element type."""


class Program(Protocol):
    """A loaded library. Not for two threads at a time."""

    def takes(self, arrays: Sequence[Array]) -> bool:
        """Whether arrays are just what the model takes. If it says no, they may still be."""

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs the model on one array an input; the outputs belong to the caller.

        Args:
            fit: what `takes` has said of these arrays; the quick way where it is True.
        """


class LoadError(Exception):
    """TVM cannot load a library. ``tvm`` says which TVM."""

    def __init__(self, message: str, tvm: str) -> None:
        super().__init__(message)
        self.tvm = tvm


class _Place:
    """A place for one input that kernels can read: 64-byte aligned, made once.

    A fresh TVM tensor costs 16 us a call on the machine this was measured on, which is half the
    run time of a small model; copying into a place that is there costs under one.
    """

    ALIGNMENT = 64

    def __init__(self, spec: Spec, from_dlpack: Callable[[Any], Any]) -> None:
        import numpy as np

        self.dtype = np.dtype(spec.dtype)
        self.shape = tuple(int(size) for size in spec.shape)
        size = int(np.prod(self.shape)) * self.dtype.itemsize
        raw = np.zeros(size + self.ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % self.ALIGNMENT
        self._array = raw[start : start + size].view(self.dtype).reshape(self.shape)
        self.tensor = from_dlpack(self._array)

    def takes(self, array: Array) -> bool:
        """Whether ``array`` has this place's shape and dtype."""
        return (
            getattr(array, "shape", None) == self.shape
            and getattr(array, "dtype", None) == self.dtype
        )

    def fill(self, array: Array) -> Any:
        """Copies ``array`` in and returns the tensor."""
        self._array[...] = array
        return self.tensor

    def holds(self, array: Array) -> bool:
        """Whether ``array`` lies in this place."""
        import numpy as np

        return bool(np.may_share_memory(array, self._array))


class _Places:
    """The places of a model's inputs; none where a shape is not fixed or a dtype does not travel
    by DLPack."""

    def __init__(self, specs: Sequence[Spec], from_dlpack: Callable[[Any], Any]) -> None:
        self.places: list[_Place] | None = None
        if not any(isinstance(size, str) for spec in specs for size in spec.shape):
            with contextlib.suppress(TypeError, ValueError, BufferError, RuntimeError):
                self.places = [_Place(spec, from_dlpack) for spec in specs]

    def take(self, arrays: Sequence[Array]) -> bool:
        """Whether each array fits its place."""
        places = self.places
        return (
            places is not None
            and len(arrays) == len(places)
            and all(map(_Place.takes, places, arrays))
        )

    def fill(self, arrays: Sequence[Array]) -> list[Any]:
        """Copies the arrays in and returns the tensors."""
        return list(map(_Place.fill, self.places or [], arrays))

    def own(self, output: Array) -> Array:
        """An output that no later call writes to: a model may hand its input through."""
        inside = any(place.holds(output) for place in self.places or [])
        return output.copy() if inside else output


def _as_array(output: Any) -> Array:
    """A TVM output as numpy without a copy: its memory belongs to nobody else any more."""
    import numpy as np

    try:
        array: Array = np.from_dlpack(output)
        return array if array.flags.writeable else array.copy()
    except (TypeError, ValueError, BufferError, RuntimeError):  # bfloat16, an empty tensor
        copied: Array = output.numpy()
        return copied


def _view(output: Any) -> Callable[[], Array]:
    """What copies a TVM tensor that is written to again and again."""
    import numpy as np

    try:
        view: Array = np.from_dlpack(output)
    except (TypeError, ValueError, BufferError, RuntimeError):
        read: Callable[[], Array] = output.numpy
        return read
    return view.copy


class RelaxProgram:
    """A Relax virtual machine's library."""

    def __init__(self, library: Path, specs: Sequence[Spec]) -> None:
        with _without_torch():
            import tvm
            from tvm import relax

            from tvmkd.stacks import regions
        regions.install(tvm)
        # Kept: the function lives no longer than the virtual machine that owns it.
        self._machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
        self._main = self._machine["main"]
        self._tensor = tvm.runtime.tensor
        self._places = _Places(specs, tvm.runtime.from_dlpack)

    def takes(self, arrays: Sequence[Array]) -> bool:
        """Whether there is a place for each."""
        return self._places.take(arrays)

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs ``main``."""
        outputs = self._main(*(self._places.fill(arrays) if fit else map(self._tensor, arrays)))
        found = [outputs] if hasattr(outputs, "numpy") else list(outputs)
        return [self._places.own(_as_array(output)) for output in found]


def relay_program(library: Path, specs: Sequence[Spec]) -> Program:
    """A Relay library, by what it is: a graph executor's or a virtual machine's."""
    from tvmkd.stacks.tvm_process import importing

    with importing():
        import tvm
        import tvm.contrib.graph_executor
        import tvm.runtime.vm

    module = tvm.runtime.load_module(str(library))
    return (RelayMachine if module.type_key == "VMExecutable" else RelayGraph)(tvm, module, specs)


class RelayMachine:
    """A Relay virtual machine's library: what is built where shapes depend on the data."""

    def __init__(self, tvm: Any, module: Any, specs: Sequence[Spec]) -> None:
        del specs
        self._array = tvm.nd.array
        self._machine = tvm.runtime.vm.VirtualMachine(module, tvm.cpu())

    def takes(self, arrays: Sequence[Array]) -> bool:
        """Never for sure: it has no places of its own."""
        del arrays
        return False

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs ``main``."""
        del fit
        outputs = self._machine.invoke("main", *map(self._array, arrays))
        found = [outputs] if hasattr(outputs, "numpy") else list(outputs)
        return [output.numpy() for output in found]


class RelayGraph:
    """A Relay graph executor's library."""

    def __init__(self, tvm: Any, module: Any, specs: Sequence[Spec]) -> None:
        self._array = tvm.nd.array
        self._names = [spec.name for spec in specs]
        self._graph = tvm.contrib.graph_executor.GraphModule(module["default"](tvm.cpu()))
        self._run = self._graph.module["run"]
        # The executor writes its outputs to the same places each time: looked up once.
        outputs = map(self._graph.get_output, range(self._graph.get_num_outputs()))
        self._outputs = [_view(output) for output in outputs]
        self._places = _Places(specs, tvm.nd.from_dlpack)
        for name, place in zip(self._names, self._places.places or [], strict=False):
            self._graph.set_input_zero_copy(name, place.tensor)

    def takes(self, arrays: Sequence[Array]) -> bool:
        """Whether there is a place for each."""
        return self._places.take(arrays)

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs the graph."""
        if fit:
            self._places.fill(arrays)
        else:
            for name, array in zip(self._names, arrays, strict=True):
                self._graph.set_input(name, self._array(array))
        self._run()
        return [read() for read in self._outputs]


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Keeps tvm_ffi from importing torch as a side effect: seconds and 500 MB for nothing here."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop("torch", None)


def _has_relay() -> bool:
    """Whether this interpreter's TVM is one with Relay, found out without importing it."""
    found = importlib.util.find_spec("tvm")
    return bool(found and found.origin and (Path(found.origin).parent / "relay").is_dir())


PROGRAMS: dict[str, Callable[[Path, Sequence[Spec]], Program]] = {
    "relax": RelaxProgram,
    "relay": relay_program,
}


def open_program(stack: str, library: Path, specs: Sequence[Spec]) -> Program:
    """Loads a library of a stack.

    Raises:
        UsageError: there is no such stack.
        MissingError: its TVM cannot be imported here.
        LoadError: its TVM cannot load the library.
    """
    if stack not in PROGRAMS:
        raise UsageError(f"unknown stack {stack!r}; known: {', '.join(PROGRAMS)}")
    if stack == "relay" and not _has_relay():
        from tvmkd.elsewhere import ElsewhereProgram

        return ElsewhereProgram(stack, library, specs)
    try:
        return PROGRAMS[stack](library, specs)
    except ImportError as error:
        raise MissingError(
            f"TVM cannot be imported ({error}); install it: "
            "pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1"
        ) from None
    except Exception as error:  # TVM raises what it likes here
        import tvm

        line = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise LoadError(line[0], f"TVM {tvm.__version__}") from None
