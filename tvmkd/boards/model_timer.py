"""Times several compiled models on one board, in turns, over TVM RPC.

TVM and the session live in a child process, ``python -m tvmkd.boards.model_timer``, which is kept
between boards: starting it takes a second. See `tvmkd.boards.remote` for one model.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base import stack_registry, wire
from tvmkd.base.errors import InputError, MissingError, TvmkdError, WorkerTimeout
from tvmkd.boards.connect import SILENT
from tvmkd.boards.match import check_match
from tvmkd.runtime import interpreters

WAIT_SECONDS = 60.0  # for a board that another client uses
COUNT = "tvmkd.board.count_instructions"
LEAST_RUNS = 3


class ModelTimer:
    """A process that times models on boards under a key. Use as a context manager.

    Args:
        stack: the stack that built the models.
        run_timeout: seconds that the runs of one request may take, the upload included.
        python: the interpreter of the stack; None: the one that was installed.
    """

    def __init__(
        self,
        stack: str = stack_registry.DEFAULT,
        run_timeout: float = 600.0,
        python: Path | None = None,
    ) -> None:
        self._stack, self._timeout, self._python = stack, run_timeout, python
        self._child: wire.Child | None = None
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> ModelTimer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self, tracker: Mapping[str, Any], target: Mapping[str, Any]) -> str:
        """Takes a free board and returns its address, ``HOST:PORT``.

        Args:
            tracker: ``{"host", "port", "key"}``.
            target: ``Target.to_dict()`` of what the models were built for.

        Raises:
            MissingError: no tracker, or no board that is free and answers.
            InputError: the board does not fit the target.
        """
        if self._child is None:
            python = interpreters.find(self._stack, self._python)
            self._child = wire.Child(
                [python.python, "-m", "tvmkd.boards.model_timer"], env=python.environment()
            )
        named: list[str] = []
        try:
            self.facts = self._child.call(
                "connect",
                {**tracker, "timeout": WAIT_SECONDS},
                timeout=2 * WAIT_SECONDS,
                on_event=lambda _, data: named.append(data["board"]),
            )
            check_match(target, self.facts["board"], self.facts)
        except WorkerTimeout:
            self.close()
            where = f"the board at {named[0]} fails: {SILENT}" if named else "no board became free"
            raise MissingError(where) from None
        except TvmkdError:
            self.close()
            raise
        return str(self.facts["board"])

    def load(
        self, name: str, library: Path, device: str, inputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Sends a library to the board, under a name, with random inputs.

        Args:
            inputs: ``{"name", "shape", "dtype"}`` of each, as the artifact's manifest has them.
        """
        params = {
            "name": name,
            "library": os.fspath(library),
            "device": device,
            "stack": self._stack,
            "inputs": [dict(spec) for spec in inputs],
        }
        self._call("load", params)

    def time(self, name: str, seconds: float) -> list[float]:
        """Seconds of each run by the board's clock, for about as long as was asked for."""
        found: list[float] = self._call("time", {"name": name, "seconds": seconds})["seconds"]
        return found

    def count(self, name: str) -> int:
        """The instructions of one run.

        Raises:
            MissingError: the board does not count them.
        """
        return int(self._call("count", {"name": name})["instructions"])

    def release(self) -> None:
        """Frees the board; the process stays for the next one."""
        if self._child is not None:
            with contextlib.suppress(TvmkdError):
                self._call("release", {})

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if self._child is None:
            raise MissingError("no board is connected")
        try:
            answer: dict[str, Any] = self._child.call(method, params, timeout=self._timeout)
        except TvmkdError as error:
            self.close()
            if isinstance(error, InputError | MissingError):
                raise
            raise MissingError(
                f"the board at {self.facts.get('board')} was lost ({error})"
            ) from None
        return answer

    def close(self) -> None:
        """Ends the process, and with it the session."""
        if self._child is not None:
            self._child.close(grace=0.5)
            self._child = None


class _Session:
    """The child's side."""

    _session: Any = None

    def connect(self, params: dict[str, Any], emit: wire.Event) -> dict[str, Any]:
        from tvmkd.boards.connect import refused, request
        from tvmkd.runtime.tvm_process import import_runtime

        self.release({}, emit)
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
        from tvmkd.base.random_inputs import random_sample
        from tvmkd.runtime.tvm_process import new_tensor

        device = self._session.device(params["device"], 0)
        if not device.exist:
            raise MissingError(f"the board has no {params['device']} device")
        name = f"{params['name']}.so"
        self._session.upload(params["library"], target=name)
        module = self._session.load_module(name)
        program = stack_registry.load(stack_registry.get(params["stack"]).remote_program)
        made = program(module, device)
        sample = random_sample(np.random.default_rng(0), params["inputs"])
        made.set_inputs([new_tensor(self._tvm, array, device) for array in sample.values()])
        self._programs[params["name"]] = made
        return {}

    def time(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        program, found = self._programs[params["name"]], list[float]()
        found += program.time(LEAST_RUNS)
        once = max(float(np.median(found)), 1e-7)
        more = int(params["seconds"] / once) - LEAST_RUNS
        if more > 0:
            found = program.time(min(more, 20_000))
        return {"seconds": found}

    def count(self, params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        try:
            counter = self._session.get_function(COUNT)
        except Exception:
            raise MissingError(
                "the board does not count instructions; start it with: tvmkd board emulate --icount"
            ) from None
        return {"instructions": int(self._programs[params["name"]].call_with(counter))}

    def release(self, _params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
        self._programs: dict[str, Any] = {}
        self._session = None
        return {}


def main() -> None:
    """Serves until stdin closes."""
    from tvmkd.base.prctl import die_with_parent

    die_with_parent()
    session = _Session()
    names = ("connect", "load", "time", "count", "release")
    wire.serve({name: getattr(session, name) for name in names})
    os._exit(0)  # a session's destructor may wait for a board that is gone


if __name__ == "__main__":
    main()
