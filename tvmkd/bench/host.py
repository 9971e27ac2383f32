"""The process of one engine: ``python -m tvmkd.bench.host``, controlled over `tvmkd.base.wire`.

CPU affinity is set before any library that starts threads is imported, so that every thread of the
engine inherits it.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tvmkd.base import wire
from tvmkd.base.errors import TvmkdError
from tvmkd.base.prctl import die_with_parent
from tvmkd.bench.messages import Loaded, Prepare
from tvmkd.bench.spec import EngineSpec
from tvmkd.timing.loop import lead_in, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from tvmkd.bench.engines.base import Engine

LEAD_IN_NS = 20_000_000


class Host:
    """The engine and the call to time."""

    engine: Engine
    call: Callable[[], Any]

    def prepare(self, params: dict[str, Any], _: wire.Event) -> dict[str, Any]:
        """Loads the engine and the inputs, and runs every sample once.

        Params: those of `Prepare`. Returns those of `Loaded`.
        """
        asked = Prepare.from_dict(params)
        if asked.cpus:
            os.sched_setaffinity(0, asked.cpus)
        import numpy as np

        from tvmkd.bench import engines

        samples = [_read(path, asked.names) for path in asked.inputs]
        start = perf_counter()
        self.engine = engines.create(asked.spec, asked.threads)
        try:
            self.engine.prepare(samples[0])
            seconds = perf_counter() - start
            for number, sample in enumerate(samples):
                outputs = self.engine.infer(sample)
                np.savez(os.path.join(asked.outputs, f"{number:03}.npz"), *outputs)
        except TvmkdError:
            raise
        except Exception as error:
            # The engine's error message on one line: the reason why it is left out.
            reason = " ".join(str(error).split())[:300]
            raise TvmkdError(f"{type(error).__name__}: {reason}") from error
        self.call = self.engine.bind(samples[0])
        self.engine.rest()
        return vars(Loaded(seconds, self.engine.size_bytes()))

    def signature(self, params: dict[str, Any], _: wire.Event) -> Any:
        """Inputs and outputs of an ONNX file, according to ONNX Runtime. Params: ``path``."""
        from tvmkd.bench.engines.ort import OrtEngine

        spec = EngineSpec("signature", "onnxruntime", params["path"])
        engine = OrtEngine(spec, threads=1)
        engine.open()
        return engine.signature()

    def warm_up(self, params: dict[str, Any], _: wire.Event) -> dict[str, Any]:
        """Warms up until times are stable. Params: ``limit_s``."""
        found = warm_up(self.call, params["limit_s"], self.engine.times)
        self.engine.rest()
        return vars(found)

    def time(self, params: dict[str, Any], _: wire.Event) -> list[float]:
        """Milliseconds of each call, after lead-in calls that are not measured.

        Params: ``count``, and ``limit_s``, the time after which it stops with fewer calls.
        """
        lead_in(self.call, LEAD_IN_NS)
        times = self.engine.times(self.call, params["count"], int(params["limit_s"] * 1e9))
        self.engine.rest()
        return [round(nanoseconds / 1e6, 6) for nanoseconds in times]

    def facts(self, _params: dict[str, Any], _: wire.Event) -> dict[str, Any]:
        """The engine's facts and the peak memory of the process."""
        return {**self.engine.facts(), "peak_rss_bytes": peak_memory()}


def peak_memory() -> int | None:
    """Peak memory of this process in bytes; None if the kernel does not report it.

    Not from `getrusage`: its value survives exec, so a child starts with the peak of its parent.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None


def _read(path: str, names: list[str]) -> dict[str, np.ndarray]:
    import numpy as np

    with np.load(path, allow_pickle=False) as saved:
        return {name: saved[f"arr_{i}"] for i, name in enumerate(names)}


def main() -> None:
    """Serves until stdin closes."""
    die_with_parent()
    host = Host()
    wire.serve(
        {
            "prepare": host.prepare,
            "signature": host.signature,
            "warm_up": host.warm_up,
            "time": host.time,
            "facts": host.facts,
        }
    )


if __name__ == "__main__":
    main()
