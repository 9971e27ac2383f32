"""The child process of `tvmkd.runtime.subprocess_program`, started with ``python -m``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import wire
from tvmkd.base.errors import TvmkdError
from tvmkd.base.manifest import TensorSpec
from tvmkd.base.prctl import die_with_parent
from tvmkd.runtime import programs
from tvmkd.runtime.program import LoadError

if TYPE_CHECKING:
    from tvmkd.runtime.program import Program


class _Host:
    """The handlers of the child's requests."""

    _program: Program

    def open(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        specs = [TensorSpec(**spec) for spec in params["specs"]]
        try:
            self._program = programs.open_program(params["stack"], Path(params["library"]), specs)
        except LoadError as error:
            return {"error": str(error), "tvm": error.tvm}
        return {}

    def run(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        import numpy as np

        try:
            arrays = [np.load(path) for path in params["inputs"]]
            outputs = self._program.run(arrays, self._program.takes(arrays))
        except Exception as error:  # TVM raises many classes; the last line is the reason
            raise TvmkdError((str(error).strip().splitlines() or ["it failed"])[-1]) from None
        for index, output in enumerate(outputs):
            np.save(f"{params['outputs']}{index}.npy", output)
        return {"outputs": len(outputs)}


def main() -> None:
    """Serves requests until stdin is closed."""
    die_with_parent()
    host = _Host()
    wire.serve({"open": host.open, "run": host.run})


if __name__ == "__main__":
    main()
