"""Runs a Relax library with TVM's virtual machine in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.runtime.program import InputBuffers, Spec
from tvmkd.runtime.tvm_process import load_extra, torch_kept_out

if TYPE_CHECKING:
    from tvmkd.runtime.program import Array


def _as_array(output: Any) -> Array:
    """A TVM output as a numpy array; without a copy where possible, since nothing else uses it."""
    import numpy as np

    try:
        array: Array = np.from_dlpack(output)
        return array if array.flags.writeable else array.copy()
    except (TypeError, ValueError, BufferError, RuntimeError):  # bfloat16, an empty tensor
        copied: Array = output.numpy()
        return copied


class RelaxProgram:
    """Implements :class:`tvmkd.runtime.program.Program` for Relax libraries."""

    def __init__(self, library: Path, specs: Sequence[Spec]) -> None:
        with torch_kept_out():
            import tvm
            from tvm.runtime.vm import VirtualMachine

            from tvmkd.byoc import regions
        load_extra(tvm)
        regions.install(tvm)
        # Kept, because the function is valid only as long as its virtual machine.
        self._machine = VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
        self._main = self._machine["main"]
        self._tensor = tvm.runtime.tensor
        self._buffers = InputBuffers(specs, tvm.runtime.from_dlpack)

    def takes(self, arrays: Sequence[Array]) -> bool:
        """True if each array fits its buffer."""
        return self._buffers.take(arrays)

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs ``main``."""
        outputs = self._main(*(self._buffers.fill(arrays) if fit else map(self._tensor, arrays)))
        found = [outputs] if hasattr(outputs, "numpy") else list(outputs)
        return [self._buffers.own(_as_array(output)) for output in found]
