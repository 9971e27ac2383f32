"""A standalone library on a board, timed by the board's clock; `tvm:standalone` of a comparison.

Options: ``ssh`` = USER@HOST, or ``emulated`` = true for QEMU on this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from tvmkd import artifact
from tvmkd.base.errors import UsageError
from tvmkd.base.runtimes import STANDALONE
from tvmkd.bench.engines.base import Device, Engine, Inputs
from tvmkd.bench.engines.tvm_artifact import device_of, require_standalone, spent
from tvmkd.bench.spec import EngineSpec
from tvmkd.deploy.remote_library import RemoteLibrary
from tvmkd.targets import Target

BLOCK = 50  # runs per request to the board


class StandaloneBoardEngine(Engine):
    """A `RemoteLibrary`. Between turns its threads sleep."""

    file = "artifact"
    link = "ssh"
    _remote: RemoteLibrary | None = None

    @classmethod
    def device_of(cls, spec: EngineSpec) -> Device | None:
        """The device of the artifact's target."""
        return device_of(spec)

    def prepare(self, example: Inputs) -> None:
        """Verifies the artifact, copies its library to the board, and runs it once.

        Raises:
            UsageError: neither ``ssh`` nor ``emulated`` is given.
            InputError: the artifact is damaged, no standalone one, or does not run on the board.
            MissingError: the board cannot be reached.
        """
        options, folder = self.spec.options, Path(self.path())
        if "ssh" not in options and not options.get("emulated"):
            raise UsageError(f"engine {self.spec.name}: needs the option ssh = USER@HOST")
        self._manifest = manifest = artifact.read(folder)
        require_standalone(manifest, folder)
        target = Target.from_dict(manifest.target, where=f"{folder}: target")
        destination = None if options.get("emulated") else options["ssh"]
        self._library = folder / manifest.library
        self._remote = RemoteLibrary(self._library, target, destination, self.threads)
        self._heat: list[dict[str, Any]] = [self._remote.facts["board"]]
        self._memory: dict[str, Any] = {}
        self.infer(example)

    def _there(self) -> RemoteLibrary:
        assert self._remote is not None, "prepare comes first"
        return self._remote

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Returns a function that sends the inputs, runs, and fetches the outputs."""
        arrays = [np.asarray(array) for array in inputs.values()]
        return lambda: self._there().run(arrays)

    def times(self, call: Callable[[], Any], count: int, limit_ns: int | None = None) -> list[int]:
        """Times measured on the board, with the inputs of the last call."""
        del call  # the run is timed on the board
        begin = perf_counter_ns()
        found: list[int] = []
        limit_s = 60.0 if limit_ns is None else limit_ns / 1e9
        while len(found) < count:
            block = self._there().time(min(BLOCK, count - len(found)), limit_s)
            found += [max(1, value) for value in block["ns"]]
            self._heat.append(block)
            self._memory = block
            if limit_ns is not None and perf_counter_ns() - begin > limit_ns:
                break
        return found

    def facts(self) -> dict[str, Any]:
        """Stack, version, target, coverage, memory, and the board."""
        facts, manifest = self._there().facts, self._manifest
        known = [now["celsius"] for now in self._heat if now["celsius"] is not None]
        return {
            "version": manifest.stack_version,
            "stack": manifest.stack,
            "runtime": STANDALONE,
            "target": manifest.target.get("name"),
            "coverage": manifest.coverage,
            "onnx_sha256": manifest.onnx_sha256,
            **spent(manifest),
            "board": facts["board"],
            "board_threads": self.threads,
            "celsius": known,
            "throttled": any(now["throttled"] for now in self._heat),
            "open_ms": facts["load_ms"] + facts["open_ms"],
            "arena_bytes": facts["arena_bytes"],
            "weight_bytes": facts["weight_bytes"],
            "board_rss_bytes": self._memory.get("resident_bytes"),
            "board_peak_rss_bytes": self._memory.get("peak_bytes"),
        }

    def size_bytes(self) -> int | None:
        """Size of the library, which is all that is on the board beside the program."""
        return self._library.stat().st_size

    def close(self) -> None:
        """Ends the process on the board."""
        if self._remote is not None:
            self._remote.close()
