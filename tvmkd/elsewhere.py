"""A compiled library of a stack whose TVM is not this interpreter's, run in a process of its own.

``python -m tvmkd.elsewhere`` in the stack's interpreter answers ``open`` and ``run`` over
:mod:`tvmkd.wire`; arrays travel as ``.npy`` files in memory-backed storage where there is some.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd import wire
from tvmkd.errors import TvmkdError

if TYPE_CHECKING:
    from tvmkd.programs import Array, Program, Spec

OPEN_SECONDS = 120.0
SHARED = "/dev/shm"


class ElsewhereProgram:
    """Implements :class:`tvmkd.programs.Program`; ends its process when it is collected."""

    def __init__(self, stack: str, library: Path, specs: Sequence[Spec]) -> None:
        from tvmkd.stacks import interpreters

        runs = interpreters.find(stack)
        place = SHARED if os.access(SHARED, os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="tvmkd-run-", dir=place)
        argv = [runs.python, "-m", "tvmkd.elsewhere"]
        self._child = wire.Child(argv, env=runs.environment())
        self._close = weakref.finalize(self, _end, self._child, self._folder)
        plain = [{"name": s.name, "shape": list(s.shape), "dtype": s.dtype} for s in specs]
        params = {"stack": stack, "library": os.fspath(library), "specs": plain}
        answer = self._child.call("open", params, timeout=OPEN_SECONDS)
        if answer.get("error"):
            from tvmkd.programs import LoadError

            self._close()
            raise LoadError(answer["error"], answer["tvm"])

    def takes(self, arrays: Sequence[Array]) -> bool:
        """Never for sure: the other process looks."""
        del arrays
        return False

    def run(self, arrays: Sequence[Array], fit: bool = False) -> list[Array]:
        """Sends the arrays, runs, fetches the outputs."""
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


class _Host:
    """The child's side."""

    _program: Program

    def open(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        from tvmkd import programs
        from tvmkd.artifact import TensorSpec

        specs = [TensorSpec(**spec) for spec in params["specs"]]
        try:
            self._program = programs.open_program(params["stack"], Path(params["library"]), specs)
        except programs.LoadError as error:
            return {"error": str(error), "tvm": error.tvm}
        return {}

    def run(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        import numpy as np

        try:
            arrays = [np.load(path) for path in params["inputs"]]
            outputs = self._program.run(arrays, self._program.takes(arrays))
        except Exception as error:  # TVM raises what it likes; its last line says why
            raise TvmkdError((str(error).strip().splitlines() or ["it failed"])[-1]) from None
        for index, output in enumerate(outputs):
            np.save(f"{params['outputs']}{index}.npy", output)
        return {"outputs": len(outputs)}


def main() -> None:
    """Serves until stdin closes."""
    from tvmkd.stacks.tvm_process import die_with_parent

    die_with_parent()
    host = _Host()
    wire.serve({"open": host.open, "run": host.run})


if __name__ == "__main__":
    main()
