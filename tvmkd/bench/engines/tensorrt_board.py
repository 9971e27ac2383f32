"""TensorRT on a board over ssh, built there and timed by the board's clocks.

Options: ``ssh`` = USER@HOST; ``clock`` = "host" (default: from inputs in pinned memory to outputs
there), "latency" or "compute" (see `tvmkd.tensorrt.runner`); ``rebuild`` and ``workspace_mib`` as
for the engine `tensorrt`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np

from tvmkd.base.errors import InputError, UsageError
from tvmkd.bench.engines.base import Engine, Inputs
from tvmkd.bench.engines.tensorrt import free_sizes, nanoseconds, slowest
from tvmkd.tensorrt.runner import Timing, summary
from tvmkd.tensorrt.ssh import RemoteEngine

BLOCK = 50  # runs per request to the board


class TensorRTBoardEngine(Engine):
    """A `RemoteEngine`. Between turns it keeps its memory on the board and is idle."""

    device = "GPU"
    link = "ssh"
    built_here = True
    precisions = ("tf32", "fp16", "int8")
    _remote: RemoteEngine | None = None

    def prepare(self, example: Inputs) -> None:
        """Connects to the board, builds or loads the engine there, and runs it once.

        Raises:
            UsageError: the option ``ssh`` is missing.
            MissingError: ssh, the board or a package on the board is missing.
            InputError: TensorRT cannot build an engine of the model.
        """
        path, options = self.path(), self.spec.options
        if "ssh" not in options:
            raise UsageError(f"engine {self.spec.name}: needs the option ssh = USER@HOST")
        self._remote = remote = RemoteEngine(options["ssh"])
        self._heat: list[dict[str, Any]] = [remote.facts["board"]]
        free = free_sizes(path, example)
        self._names, data = whole(path)
        self._built = remote.prepare(
            data,
            self.spec.precision,
            shapes={name: array.shape for name, array in example.items()} if free else None,
            workspace_mib=options.get("workspace_mib"),
            rebuild=options.get("rebuild", False),
        )
        self._timings: list[Timing] = []
        self.infer(example)

    def _there(self) -> RemoteEngine:
        assert self._remote is not None, "prepare comes first"
        return self._remote

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Returns a function that sends the inputs, runs, and fetches the outputs."""
        arrays = {name: np.asarray(array) for name, array in inputs.items()}

        def call() -> list[np.ndarray]:
            outputs = self._there().run(arrays)
            return [outputs[name] for name in self._names]

        return call

    def times(self, call: Callable[[], Any], count: int, limit_ns: int | None = None) -> list[int]:
        """Times measured on the board, with the inputs of the last call."""
        del call  # the run is timed on the board
        begin = perf_counter_ns()
        found: list[Timing] = []
        limit_s = 60.0 if limit_ns is None else limit_ns / 1e9
        while len(found) < count:
            timings, telemetry = self._there().time(min(BLOCK, count - len(found)), limit_s)
            found += timings
            self._heat.append(telemetry)
            if limit_ns is not None and perf_counter_ns() - begin > limit_ns:
                break
        self._timings += found
        return nanoseconds(found, self._clock())

    def _clock(self) -> str:
        return str(self.spec.options.get("clock", "host"))

    def facts(self) -> dict[str, Any]:
        """Version, the board, trtexec's times over all runs, and the slowest layers."""
        remote = self._there()
        return {
            **{name: value for name, value in remote.facts.items() if name != "board"},
            "product": "tensorrt",
            "board": remote.facts["board"],
            "celsius": [now["celsius"] for now in self._heat],
            "throttled": any(now["throttled"] for now in self._heat),
            "gpu_clock_hz": self._heat[-1]["gpu_clock_hz"],
            "clock": self._clock(),
            "engine_from_cache": self._built["cached"],
            "engine_seconds": self._built["seconds"],
            "engine_build_seconds": None if self._built["cached"] else self._built["seconds"],
            "board_peak_rss_bytes": self._heat[-1].get("peak_rss_bytes"),
            "layers": self._built["layers"],
            "spin_wait": True,
            "transfers": "from and to pinned memory, on the engine's stream, never overlapping",
            "cuda_graph": False,
            "trtexec": summary(self._timings) if self._timings else None,
            "slowest_layers": slowest(remote.profile()),
        }

    def size_bytes(self) -> int | None:
        """Size of the plan on the board."""
        return int(self._built["size_bytes"])

    def close(self) -> None:
        """Ends the process on the board."""
        if self._remote is not None:
            self._remote.close()


def whole(path: Any) -> tuple[list[str], bytes]:
    """The names of an ONNX file's outputs, and the file's bytes with all weights embedded.

    Raises:
        InputError: the file cannot be read, or is too large to embed its weights.
    """
    import onnx

    from tvmkd.export.check import parse

    parse(path)
    try:
        model = onnx.load(path)
        return [output.name for output in model.graph.output], model.SerializeToString()
    except Exception as error:  # the errors of protobuf and onnx have no common base class
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be sent to a board: {reason}") from None
