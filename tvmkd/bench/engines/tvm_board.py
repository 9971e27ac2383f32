"""A compiled artifact on a board, over TVM RPC, timed by the board's clock.

Options: ``tracker``, ``{"host", "port", "key"}``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from tvmkd import artifact
from tvmkd.base.errors import UsageError
from tvmkd.bench.engines.base import Device, Engine, Inputs
from tvmkd.bench.engines.tvm_artifact import device_of, spent
from tvmkd.bench.spec import EngineSpec
from tvmkd.boards.remote import RemoteModel

BLOCK = 20  # runs per request to the board


class BoardEngine(Engine):
    """The artifact's library, sent to a board at the start of each turn.

    A board serves one client at a time, so it is released after each turn: all engines of a
    comparison use the same board.
    """

    file = "artifact"
    link = "rpc"
    _model: RemoteModel | None = None

    @classmethod
    def device_of(cls, spec: EngineSpec) -> Device | None:
        """The device of the artifact's target."""
        return device_of(spec)

    def prepare(self, example: Inputs) -> None:
        """Reads the manifest and verifies the files' hashes.

        Raises:
            UsageError: the option ``tracker`` is missing.
        """
        del example
        if "tracker" not in self.spec.options:
            raise UsageError(
                f'engine {self.spec.name}: needs the option tracker = {{"host", "port", "key"}}'
            )
        self._manifest = artifact.read(self.path())
        artifact.require_tvm(self._manifest, Path(self.path()), "an RPC server")
        self._telemetry: list[dict[str, Any]] = [self._board().telemetry()]

    def _board(self) -> RemoteModel:
        if self._model is None:
            library = Path(self.path()) / self._manifest.library
            tracker = self.spec.options["tracker"]
            stack = self._manifest.stack
            self._model = RemoteModel(library, self._manifest.target, tracker, stack)
            self._facts = self._model.facts
        return self._model

    def rest(self) -> None:
        """Releases the board."""
        model, self._model = self._model, None
        if model is not None:
            self._telemetry.append(model.telemetry())
            model.close()

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Returns a function that sends the inputs, runs, and fetches the outputs."""
        arrays = [np.asarray(array) for array in inputs.values()]
        self._arrays = arrays
        return functools.partial(self._run, arrays)

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return self._board().run(arrays)

    def times(self, call: Callable[[], Any], count: int, limit_ns: int | None = None) -> list[int]:
        """The time of each run measured on the board, without network and fetching of outputs."""
        del call  # the run is timed on the board
        begin = perf_counter_ns()
        found: list[int] = []
        while len(found) < count:
            seconds = self._board().time(self._arrays, min(BLOCK, count - len(found)))
            found += [max(1, round(value * 1e9)) for value in seconds]
            if limit_ns is not None and perf_counter_ns() - begin > limit_ns:
                break
        return found

    def facts(self) -> dict[str, Any]:
        """Stack, version, target, coverage, and the board's description of itself."""
        known = [now for now in self._telemetry if now]
        return {
            "version": self._manifest.stack_version,
            "stack": self._manifest.stack,
            "target": self._manifest.target.get("name"),
            "coverage": self._manifest.coverage,
            "onnx_sha256": self._manifest.onnx_sha256,
            **spent(self._manifest),
            "board_threads": self._facts.get("threads"),
            "board": self._facts,
            "celsius": [now.get("celsius") for now in known],
            "throttled": any(now.get("throttled") for now in known),
        }

    def close(self) -> None:
        """Releases the board."""
        if self._model is not None:
            self._model.close()
