from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_files import onnx_detector

from tvmkd.base.wire import Child
from tvmkd.boards.telemetry import ROOT
from tvmkd.deploy.streaming import worker
from tvmkd.deploy.streaming.ladder import Rules
from tvmkd.deploy.streaming.plan import Plan
from tvmkd.deploy.streaming.record import COLUMNS, column


def params(tmp_path: Path, **fields: Any) -> dict[str, Any]:
    model = str(onnx_detector(tmp_path / "d.onnx"))
    given = {"models": (model,), "fps": 100.0, "budget_ms": 1000.0, "seconds": 0.5, "threads": 1}
    return {
        "plan": Plan(**{**given, **fields}).to_dict(),
        "table": str(tmp_path / "frames.npy"),
    }


def test_a_stream_tells_when_it_is_ready_and_what_it_ran(tmp_path: Path) -> None:
    events: list[str] = []
    found = worker.stream(params(tmp_path), lambda name, data: events.append(name))
    rows = np.load(tmp_path / "frames.npy")
    assert events[0] == "ready"
    assert rows.shape[1] == len(COLUMNS)
    assert 1 <= len(rows) <= 49
    assert column(rows, "release")[0] - found["begun"] == 10_000_000 * (rows[0, 0] + 1)
    assert (np.diff(rows[:, 1:7], axis=1) >= 0).all()
    (model,) = found["models"]
    assert model["steps"].startswith("detector")
    assert model["reference_ms"] > 0
    assert (found["interrupted"], found["steps"]) == (False, [])


def test_sigint_ends_it_with_what_there_is(tmp_path: Path) -> None:
    with Child([sys.executable, "-m", "tvmkd.deploy.streaming.worker"]) as child:
        timer: list[threading.Timer] = []

        def told(event: str, data: dict[str, Any]) -> None:
            if event == "progress" and not timer:
                timer.append(threading.Timer(0.0, os.kill, (child.pid, signal.SIGINT)))
                timer[0].start()

        request = params(tmp_path, seconds=300.0)
        found = child.call("stream", request, timeout=60, on_event=told)
    assert found["interrupted"] is True
    assert len(np.load(tmp_path / "frames.npy")) > 10


def test_a_hot_board_steps_down_its_ladder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = tmp_path / "root/sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu")
    (zone / "temp").write_text("85000")
    monkeypatch.setenv(ROOT, str(tmp_path / "root"))
    monkeypatch.setattr(worker, "Rules", functools.partial(Rules, settle_s=0.0))
    both = tuple(str(onnx_detector(tmp_path / f"{name}.onnx")) for name in ("big", "small"))
    policy = {"when_late": "ladder", "hot": 80.0, "cool": 60.0, "calm_s": 0.5}

    rungs: list[int] = []

    def told(event: str, data: dict[str, Any]) -> None:
        if event != "progress":
            return
        rungs.append(data["rung"])
        if rungs[-1] == 1:
            (zone / "temp").write_text("55000")
        elif 1 in rungs:  # it has gone down and come back: that is all
            os.kill(os.getpid(), signal.SIGINT)

    asked = params(tmp_path, models=both, fps=20.0, seconds=120.0, **policy)
    found = worker.stream(asked, told)
    steps = [(step["before"], step["after"]) for step in found["steps"]]
    assert steps == [(0, 1), (1, 0)]
    assert "85.0 °C" in found["steps"][0]["why"]
    assert set(column(np.load(tmp_path / "frames.npy"), "rung").tolist()) == {0, 1}
