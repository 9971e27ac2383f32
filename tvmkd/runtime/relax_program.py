"""Runs a Relax library with TVM's virtual machine in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.runtime import relax_runtime
from tvmkd.runtime.program import InputBuffers, Spec

if TYPE_CHECKING:
    from tvmkd.runtime.program import Array


class RelaxProgram:
    """Implements :class:`tvmkd.runtime.program.Program` for Relax libraries."""

    def __init__(self, library: Path, specs: Sequence[Spec]) -> None:
        from tvmkd.byoc import regions

        ffi = relax_runtime.load()
        regions.install(ffi, relax_runtime.tensor)
        # Kept, because the function is valid only as long as its virtual machine.
        self._machine = relax_runtime.machine(library)
        self._main = self._machine["main"]
        self._buffers = InputBuffers(specs, ffi.from_dlpack)

    def takes(self, arrays: Sequence[Array]) -> bool:
        """True if each array fits its buffer."""
        return self._buffers.take(arrays)

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Runs ``main``."""
        tensors = self._buffers.fill(arrays) if fit else map(relax_runtime.tensor, arrays)
        outputs = relax_runtime.outputs_of(self._main(*tensors))
        return [self._buffers.own(output) for output in outputs]
