"""Runs a compiled library in a subprocess, for a stack whose TVM this interpreter does not have.

`tvmkd.runtime.program_host` runs in the stack's interpreter and answers ``open`` and ``run`` over
:mod:`tvmkd.base.wire`. Arrays are sent as ``.npy`` files, in shared memory if there is some.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base import wire
from tvmkd.runtime import interpreters
from tvmkd.runtime.program import LoadError

if TYPE_CHECKING:
    from tvmkd.runtime.program import Array, Spec

OPEN_SECONDS = 120.0
SHARED = "/dev/shm"


class SubprocessProgram:
    """Implements :class:`tvmkd.runtime.program.Program`; its process ends when it is deleted."""

    def __init__(self, stack: str, library: Path, specs: Sequence[Spec]) -> None:
        runs = interpreters.find(stack)
        place = SHARED if os.access(SHARED, os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="tvmkd-run-", dir=place)
        argv = [runs.python, "-m", "tvmkd.runtime.program_host"]
        self._child = wire.Child(argv, env=runs.environment())
        self._close = weakref.finalize(self, _end, self._child, self._folder)
        plain = [{"name": s.name, "shape": list(s.shape), "dtype": s.dtype} for s in specs]
        params = {"stack": stack, "library": os.fspath(library), "specs": plain}
        answer = self._child.call("open", params, timeout=OPEN_SECONDS)
        if answer.get("error"):
            self._close()
            raise LoadError(answer["error"], answer["tvm"])

    def takes(self, arrays: Sequence[Array]) -> bool:
        """Always False: the other process checks the arrays."""
        del arrays
        return False

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Sends the arrays, runs the model and reads the outputs."""
        del fit
        import numpy as np

        paths = [os.path.join(self._folder.name, f"in{index}.npy") for index in range(len(arrays))]
        for path, array in zip(paths, arrays, strict=True):
            np.save(path, array)
        stem = os.path.join(self._folder.name, "out")
        count = self._child.call("run", {"inputs": paths, "outputs": stem})["outputs"]
        return [np.load(f"{stem}{index}.npy") for index in range(count)]


def _end(child: wire.Child, folder: tempfile.TemporaryDirectory[str]) -> None:
    child.close(grace=0.2)
    folder.cleanup()
