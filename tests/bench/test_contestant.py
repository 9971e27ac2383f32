from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmkd.base.errors import MissingError, TvmkdError
from tvmkd.bench import EngineSpec
from tvmkd.bench.contestant import Disagrees, Run, figures
from tvmkd.bench.messages import Loaded
from tvmkd.timing.loop import WarmUp

SPEC = EngineSpec("t", "tensorrt", "m.onnx", precision="fp16")


class Process:
    """An engine's process with known answers."""

    threads = 2

    def __init__(self, ms: float, output: float = 1.0, **options: Any) -> None:
        self.spec = EngineSpec("t (build)", "tensorrt", "m.onnx", options=options)
        self.other_cpu = [0.1]
        self.ms, self.output, self.closed = ms, output, False

    def prepare(self, *_: Any) -> Any:
        return Loaded(self.ms, int(self.ms)), [[np.array([self.output])]]

    def time(self, count: int, limit_s: float) -> list[float]:
        return [self.ms] * count

    def facts(self) -> dict[str, Any]:
        return {"engine_build_seconds": self.ms * 10, "gpu_memory_bytes": int(self.ms) * 7}

    def close(self) -> None:
        self.closed = True


def _run(ms: float, rounds: int = 3, output: float = 1.0, **options: Any) -> Run:
    run = Run(Process(ms, output, **options), SPEC, None)  # type: ignore[arg-type]
    run.check([], [], Path(), 1.0, [[np.array([1.0])]])
    run.warm = WarmUp(ms, 100, 1.0, True, ms, ms / 1e3)
    for _ in range(rounds):
        run.turn(0.1, 1000, ms / 1e3)
    run.ask_facts()
    return run


def test_one_engine_has_no_builds() -> None:
    made = figures([_run(10.0)])
    assert (made.name, made.precision, made.tolerance, made.device) == ("t", "fp16", 2e-2, "GPU")
    assert made.samples_ms == [10.0] * 30
    assert made.round_sizes == [10] * 3
    assert (made.p50, made.ci95, made.builds) == (10.0, (10.0, 10.0), [])
    assert (made.engine_seconds, made.gpu_memory_bytes, made.size_bytes) == (100.0, 70, 10)


def test_builds_are_one_engine_that_shows_the_worst_of_them() -> None:
    made = figures([_run(10.0, build=1), _run(20.0, output=1.01, build=2)])
    assert made.round_sizes == [15] * 3
    assert made.samples_ms[:15] == [10.0] * 10 + [20.0] * 5
    assert [build.p50 for build in made.builds] == [10.0, 20.0]
    assert [build.round_sizes for build in made.builds] == [[10] * 3, [5] * 3]
    assert (made.engine_seconds, made.build_seconds, made.size_bytes) == (200.0, 20.0, 20)
    assert made.relative_error == pytest.approx(0.01)
    assert made.warm_up["spread"] == 20.0
    assert made.ci95[0] < 5 < 10 == made.p50
    (alone,) = figures([_run(10.0, build=1)]).builds
    assert alone.p50 == 10.0


def test_a_turn_fits_its_time() -> None:
    run = _run(10.0, rounds=0)
    run.turn(0.5, 1000, 0.01)
    run.turn(0.5, 20, 0.01)
    run.turn(0.001, 1000, 0.01)
    assert [len(one) for one in run.rounds] == [50, 20, 5]


def test_whoever_is_dropped_has_a_reason() -> None:
    with pytest.raises(Disagrees):
        _run(1.0, output=2.0)
    for error, why in (
        (MissingError("m"), "missing"),
        (Disagrees("d"), "disagrees"),
        (TvmkdError("f"), "failed"),
    ):
        run = _run(1.0, build=2)
        left = run.drop(error)
        assert (left.name, left.kind, left.why) == ("t", "tensorrt", why)
        assert left.reason == ("m" if why == "missing" else f"build 2: {error}")
        assert run.process.closed  # type: ignore[attr-defined]


def test_a_board_s_memory_is_the_board_s() -> None:
    run = _run(1.0)
    run.facts = {"board": {}, "peak_rss_bytes": 5, "board_peak_rss_bytes": 9}
    assert figures([run]).memory() == 9
    run.facts = {"board": {}, "peak_rss_bytes": 5}
    assert figures([run]).memory() is None
    run.facts = {"peak_rss_bytes": 5}
    assert figures([run]).memory() == 5
