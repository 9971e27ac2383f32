"""Runs and times a compiled model on a board, over TVM RPC.

TVM and the session live in a child process, ``python -m tvmkd.boards.remote``: an RPC call cannot
be interrupted, and the calling process must not import TVM.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base import stack_registry, wire
from tvmkd.base.errors import MissingError, WorkerTimeout
from tvmkd.boards.connect import SILENT
from tvmkd.boards.match import check_match
from tvmkd.boards.remote_program import RemoteProgram
from tvmkd.runtime import interpreters
from tvmkd.runtime.tvm_process import new_tensor

WAIT_SECONDS = 60.0  # for a board that another client uses
LIBRARY = "model.so"

Arrays = Sequence[np.ndarray]


class RemoteModel:
    """A compiled model's library on a board under a key. Use as a context manager.

    Args:
        library: ``model.so``.
        target: ``Target.to_dict()`` of what it was built for.
        tracker: ``{"host", "port", "key"}``.
        stack: the stack that built it.
        run_timeout: seconds that one call may take, the upload included.

    Raises:
        MissingError: no tracker, or no board that is free and answers.
        InputError: the board does not fit the target.
    """

    def __init__(
        self,
        library: Path,
        target: Mapping[str, Any],
        tracker: Mapping[str, Any],
        stack: str = stack_registry.DEFAULT,
        run_timeout: float = 600.0,
    ) -> None:
        self._timeout = run_timeout
        self._folder = tempfile.TemporaryDirectory(prefix="tvmkd-remote-")
        python = interpreters.find(stack)
        self._child = wire.Child(
            [python.python, "-m", "tvmkd.boards.remote"], env=python.environment()
        )
        named: list[str] = []
        try:
            try:
                found = self._child.call(
                    "connect",
                    {**tracker, "timeout": WAIT_SECONDS},
                    timeout=2 * WAIT_SECONDS,
                    on_event=lambda _, data: named.append(data["board"]),
                )
            except WorkerTimeout:
                if not named:
                    raise
                raise MissingError(f"the board at {named[0]} fails: {SILENT}") from None
            self.facts: dict[str, Any] = found
            check_match(target, found["board"], found)
            params = {
                "library": os.fspath(library),
                "device": target.get("device", "cpu"),
                "stack": stack,
            }
            self._child.call("load", params, timeout=run_timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RemoteModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def emulated(self) -> bool:
        """True if the board is emulated: then its times mean nothing."""
        return bool(self.facts.get("emulated"))

    def run(self, arrays: Arrays) -> list[np.ndarray]:
        """Runs the model once: one array an input, in the model's order; the outputs as arrays.

        Raises:
            TvmkdError: it failed, crashed or hung there.
        """
        inputs, outputs = (Path(self._folder.name) / name for name in ("in.npz", "out.npz"))
        np.savez(inputs, *arrays)
        params = {"inputs": os.fspath(inputs), "outputs": os.fspath(outputs)}
        count = self._child.call("run", params, timeout=self._timeout)["outputs"]
        with np.load(outputs) as found:
            return [found[f"arr_{index}"] for index in range(count)]

    def time(self, arrays: Arrays, count: int) -> list[float]:
        """Seconds of each of ``count`` runs by the board's clock, without the network."""
        inputs = Path(self._folder.name) / "in.npz"
        np.savez(inputs, *arrays)
        params = {"inputs": os.fspath(inputs), "count": count}
        seconds: list[float] = self._child.call("time", params, timeout=self._timeout)["seconds"]
        return seconds

    def telemetry(self) -> dict[str, Any]:
        """Temperature and clocks of the board now; empty if it cannot read them."""
        found: dict[str, Any] = self._child.call("telemetry", timeout=30)
        return found

    def close(self) -> None:
        """Frees the board."""
        self._child.close(grace=0.5)
        self._folder.cleanup()


class _Session:
    """The child's side."""

    _inputs: tuple[bytes, list[Any]] | None = None

    def connect(self, params: dict[str, Any], emit: wire.Event) -> dict[str, Any]:
        from tvmkd.boards.connect import refused, request
        from tvmkd.runtime.tvm_process import import_runtime

        self._tvm = import_runtime()
        host, port, match = request(*(params[name] for name in ("host", "port", "key", "timeout")))
        emit("named", {"board": f"{host}:{port}"})
        try:
            self._session = self._tvm.rpc.connect(host, port, match)
        except Exception as error:
            why = refused(error)
            raise MissingError(f"the board at {host}:{port} does not answer ({why})") from None
        facts: dict[str, Any] = {"board": f"{host}:{port}"}
        with contextlib.suppress(Exception):  # a server of upstream's has no such function
            facts.update(json.loads(self._session.get_function("tvmkd.board.facts")()))
        with contextlib.suppress(Exception):
            facts["threads"] = int(self._session.get_function("runtime.NumThreads")())
        return facts

    def load(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        self._device = self._session.device(params["device"], 0)
        if not self._device.exist:
            raise MissingError(
                f"the board finds no GPU there ({params['device']}): no driver (libcuda.so.1), or "
                "a server whose bundle is for a target without a GPU"
            )
        self._session.upload(params["library"], target=LIBRARY)
        module = self._session.load_module(LIBRARY)
        entry = stack_registry.get(params["stack"])
        self._program: RemoteProgram = stack_registry.load(entry.remote_program)(
            module, self._device
        )
        return {}

    def _arguments(self, path: str) -> list[Any]:
        """The inputs on the board; sent again only when they have changed."""
        # Not by the file's time: two writes within one tick of the kernel's clock share it.
        content = Path(path).read_bytes()
        if self._inputs is None or self._inputs[0] != content:
            with np.load(io.BytesIO(content)) as stored:
                arrays = [stored[f"arr_{index}"] for index in range(len(stored.files))]
            tensors = [new_tensor(self._tvm, array, self._device) for array in arrays]
            self._inputs = (content, tensors)
            self._program.set_inputs(tensors)
        return self._inputs[1]

    def run(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        self._arguments(params["inputs"])
        outputs = self._program.run()
        np.savez(params["outputs"], *outputs)
        return {"outputs": len(outputs)}

    def time(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        self._arguments(params["inputs"])
        return {"seconds": self._program.time(params["count"])}

    def telemetry(self, _params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        with contextlib.suppress(Exception):
            found: dict[str, Any] = json.loads(
                self._session.get_function("tvmkd.board.telemetry")()
            )
            return found
        return {}


def main() -> None:
    """Serves until stdin closes."""
    from tvmkd.base.prctl import die_with_parent

    die_with_parent()
    session = _Session()
    names = ("connect", "load", "run", "time", "telemetry")
    wire.serve({name: getattr(session, name) for name in names})
    os._exit(0)  # a session's destructor may wait for a board that is gone


if __name__ == "__main__":
    main()
