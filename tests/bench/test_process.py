from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmkd.base.errors import TvmkdError, WorkerDied
from tvmkd.bench import machine
from tvmkd.bench import process as process_module
from tvmkd.bench.process import EngineProcess, environment
from tvmkd.bench.spec import EngineSpec

KIND = "bench.engines_for_tests:Matmul"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    np.savez(tmp_path / "000.npz", np.ones((1, 8), np.float32))
    return tmp_path / "000.npz"


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _stopped(pid: int) -> bool:
    """Whether it is stopped, or is so within two seconds: the signal takes a moment."""
    deadline = time.monotonic() + 2
    while _state(pid) != "T" and time.monotonic() < deadline:
        time.sleep(0.01)
    return _state(pid) == "T"


def _prepared(process: EngineProcess, sample: Path) -> list[list[np.ndarray]]:
    return process.prepare([sample], ["x"], sample.parent / "out", timeout=60)[1]


def test_an_engine_is_prepared_and_stopped_between_its_turns(sample: Path) -> None:
    spec = EngineSpec("m", KIND, options={"sleep_ms": 2})
    cpus = machine.choose_cpus(1)
    with EngineProcess(spec, 1, cpus) as process:
        ((output,),) = _prepared(process, sample)
        assert output.shape == (1, 8)
        assert _stopped(process.pid)
        warm = process.warm_up(limit_s=0.3)
        assert warm.call_seconds >= 0.002
        times = process.time(4, limit_s=60)
        assert len(times) == 4
        assert all(2.0 <= value < 500 for value in times)
        assert _stopped(process.pid)
        facts = process.facts()
        assert facts["cpus"] == cpus
        assert facts["threads"] == {"OMP_NUM_THREADS": "1", "TVM_NUM_THREADS": "1"}
        assert facts["peak_rss_bytes"] > 1e7
        pid = process.pid
    assert not Path(f"/proc/{pid}").exists()


class FakeChild:
    """A child process that is not there; notes signals and calls in ``log``."""

    pid = 4_194_300
    log: list[Any]

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.log.append(("start", argv[1:], env["OMP_NUM_THREADS"]))

    def call(self, method: str, params: Any = None, timeout: float = 0.0) -> Any:
        self.log.append((method, params, timeout))
        if method == "facts":
            raise WorkerDied("it crashed")
        return [1.0]

    def close(self, grace: float) -> None:
        self.log.append(("close", grace))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setattr(FakeChild, "log", calls, raising=False)
    monkeypatch.setattr(process_module, "Child", FakeChild)
    monkeypatch.setattr(os, "killpg", lambda pid, number: calls.append(signal.Signals(number).name))
    return calls


def test_a_stopped_engine_is_continued_to_be_closed_and_only_once(log: list[Any]) -> None:
    process = EngineProcess(EngineSpec("m", KIND), 2, [])
    assert log.pop() == ("start", ["-m", "tvmkd.bench.host"], "2")
    process.close()
    assert log == ["SIGCONT", ("close", 0.5)]
    process.close()
    assert log == ["SIGCONT", ("close", 0.5)]


def test_an_engine_is_continued_for_its_turn_and_stopped_after_it(
    log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spent, moments = iter([10.0, 13.0]), iter([100.0, 102.0])
    monkeypatch.setattr(machine, "work_elsewhere", lambda pid: next(spent))
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    process = EngineProcess(EngineSpec("m", KIND), 1, [])
    log.clear()
    assert process.time(7, limit_s=2.0) == [1.0]
    assert log == ["SIGCONT", ("time", {"count": 7, "limit_s": 2.0}, 66.0), "SIGSTOP"]
    assert process.other_cpu == [1.5], "3 s of work by others in 2 s"
    log.clear()
    with pytest.raises(WorkerDied):
        process.facts()
    assert (log[0], log[-1]) == ("SIGCONT", "SIGSTOP")


def test_an_engine_that_crashes_is_an_error_not_a_hang(sample: Path) -> None:
    with EngineProcess(EngineSpec("m", KIND, options={"crash_on_call": 3}), 1, []) as process:
        _prepared(process, sample)
        with pytest.raises(WorkerDied, match="SIGABRT"):
            process.time(10, limit_s=60)


def test_the_engines_own_words_reach_the_parent_on_one_line(sample: Path) -> None:
    np.savez(sample, np.ones((1, 5), np.float32))
    with (
        EngineProcess(EngineSpec("m", KIND), 1, []) as process,
        pytest.raises(TvmkdError, match="ValueError: matmul") as caught,
    ):
        _prepared(process, sample)
    assert "\n" not in str(caught.value)


def test_an_engine_that_hangs_is_ended(sample: Path) -> None:
    with (
        EngineProcess(EngineSpec("m", KIND, options={"sleep_ms": 60_000}), 1, []) as process,
        pytest.raises(WorkerDied, match="no answer"),
    ):
        process.prepare([sample], ["x"], sample.parent / "out", timeout=2)


def test_a_stopped_engine_dies_with_its_parent(sample: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tvmkd.bench.process import EngineProcess\n"
        "from tvmkd.bench.spec import EngineSpec\n"
        f"process = EngineProcess(EngineSpec('m', {KIND!r}), 1, [])\n"
        f"path = Path({str(sample)!r})\n"
        "process.prepare([path], ['x'], path.parent / 'out', timeout=60)\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        engine = int(parent.stdout.readline())
        assert _stopped(engine)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _alive(engine):
        time.sleep(0.05)
    assert not _alive(engine)


def _alive(pid: int) -> bool:
    try:
        return _state(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_threads_are_said_in_every_dialect() -> None:
    said = environment(3)
    assert said.pop("NVIDIA_TF32_OVERRIDE") == "0"
    assert environment(3, "tf32") == environment(3, "fp16") == said
    assert {said[key] for key in said if key.endswith("NUM_THREADS")} == {"3"}
