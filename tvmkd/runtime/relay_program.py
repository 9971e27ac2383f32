"""Runs a Relay library with TVM's graph executor or virtual machine in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.runtime.program import InputBuffers, Program, Spec
from tvmkd.runtime.tvm_process import importing

if TYPE_CHECKING:
    from tvmkd.runtime.program import Array


def _view(output: Any) -> Callable[[], Array]:
    """A function that copies the current content of a TVM tensor."""
    import numpy as np

    try:
        view: Array = np.from_dlpack(output)
    except (TypeError, ValueError, BufferError, RuntimeError):
        read: Callable[[], Array] = output.numpy
        return read
    return view.copy


def _may_overlap(tensor: Any, others: Sequence[Any]) -> bool:
    """True if a TVM tensor may share memory with one of the others."""
    import numpy as np

    try:
        view = np.from_dlpack(tensor)
        return any(np.may_share_memory(view, np.from_dlpack(other)) for other in others)
    except (TypeError, ValueError, BufferError, RuntimeError):
        return True


def relay_program(library: Path, specs: Sequence[Spec]) -> Program:
    """Loads a Relay library, which is for the graph executor or for the virtual machine."""
    with importing():
        import tvm
        import tvm.contrib.graph_executor
        import tvm.runtime.vm

    module = tvm.runtime.load_module(str(library))
    return (RelayMachine if module.type_key == "VMExecutable" else RelayGraph)(tvm, module, specs)


class RelayMachine:
    """A library for the virtual machine: of models whose shapes depend on the data."""

    def __init__(self, tvm: Any, module: Any, specs: Sequence[Spec]) -> None:
        del specs
        self._array = tvm.nd.array
        self._machine = tvm.runtime.vm.VirtualMachine(module, tvm.cpu())

    def takes(self, arrays: Sequence[Array]) -> bool:
        """Always False: it has no preallocated buffers."""
        del arrays
        return False

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs ``main``."""
        del fit
        outputs = self._machine.invoke("main", *map(self._array, arrays))
        found = [outputs] if hasattr(outputs, "numpy") else list(outputs)
        return [output.numpy() for output in found]


class RelayGraph:
    """A library for the graph executor."""

    def __init__(self, tvm: Any, module: Any, specs: Sequence[Spec]) -> None:
        self._array = tvm.nd.array
        self._names = [spec.name for spec in specs]
        self._graph = tvm.contrib.graph_executor.GraphModule(module["default"](tvm.cpu()))
        self._run = self._graph.module["run"]
        # The executor writes each output to the same memory in every run.
        outputs = list(map(self._graph.get_output, range(self._graph.get_num_outputs())))
        self._outputs = [_view(output) for output in outputs]
        self._buffers = InputBuffers(specs, tvm.nd.from_dlpack)
        self._copied: list[tuple[str, Any]] = []
        for name, buffer in zip(self._names, self._buffers.buffers or [], strict=False):
            # An output may be a view of an input: of the executor's memory, not of our buffer.
            if _may_overlap(self._graph.get_input(name), outputs):
                self._copied.append((name, buffer.tensor))
            else:
                self._graph.set_input_zero_copy(name, buffer.tensor)

    def takes(self, arrays: Sequence[Array]) -> bool:
        """True if each array fits its buffer."""
        return self._buffers.take(arrays)

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs the graph."""
        if fit:
            self._buffers.fill(arrays)
            for name, tensor in self._copied:
                self._graph.set_input(name, tensor)
        else:
            for name, array in zip(self._names, arrays, strict=True):
                self._graph.set_input(name, self._array(array))
        self._run()
        return [read() for read in self._outputs]
