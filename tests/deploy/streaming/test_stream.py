from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import fake_nano
import pytest
from detector_files import onnx_detector, scene
from PIL import Image

from tvmkd.base.errors import InputError
from tvmkd.boards.telemetry import ROOT
from tvmkd.deploy.streaming.plan import Plan
from tvmkd.deploy.streaming.record import column
from tvmkd.deploy.streaming.stream import run


def plan(tmp_path: Path, **fields: Any) -> Plan:
    model = str(onnx_detector(tmp_path / "d.onnx"))
    given = {"models": (model,), "fps": 50.0, "budget_ms": 1000.0, "seconds": 1.0, "threads": 1}
    return Plan(**{**given, **fields})


def test_the_record_the_board_and_the_settings_come_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT, str(fake_nano.plant(tmp_path / "root", celsius=61.0)))
    Image.fromarray(scene()).save(tmp_path / "a.png")
    one = min(os.sched_getaffinity(0))
    asked = plan(tmp_path, source="folder", input=str(tmp_path / "a.png"), cpus=(one,))
    result, rows = run(asked, model_ms=5.0)
    assert result.released >= 45
    assert result.released == result.processed + result.dropped
    assert result.processed == len(rows) == result.models[0].frames
    assert result.misses == result.dropped  # nothing takes a second
    assert result.celsius() == (61.0, 61.0)
    assert result.throttled is False
    assert result.states[-1].watts == 2.346
    settings = result.settings
    assert (settings.cpus, settings.threads, settings.model_ms) == ([one], 1, 5.0)
    assert settings.source.startswith("1 pictures of")
    assert not result.interrupted
    assert os.sched_getaffinity(0) != {one} or len(os.sched_getaffinity(0)) == 1
    assert {stage.name: stage.ms.p50 > 0 for stage in result.stages}["model"]


def test_ctrl_c_ends_it_early_and_gives_the_signals_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    told: list[str] = []

    def interrupt(event: str, data: object) -> None:
        if event == "progress" and "progress" not in told:
            threading.Timer(0.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        told.append(event)

    result, rows = run(plan(tmp_path, seconds=300.0), told=interrupt)
    assert result.interrupted
    assert result.seconds < 200
    assert len(rows) > 5
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert int(column(rows, "number")[-1]) < 300 * 50


def test_errors_of_the_process_are_the_callers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such artifact"):
        run(Plan(models=(str(tmp_path / "none"),), fps=30.0, budget_ms=30.0, seconds=1.0))
