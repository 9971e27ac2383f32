"""Which predictor a config gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toys
from made_up_boards import HOST, World, install

from tvmkd import config, targets
from tvmkd.boards import here
from tvmkd.config import Config
from tvmkd.search.latency import open_latency
from tvmkd.search.latency.macs import Macs
from tvmkd.search.latency.table import LatencyTable

NANO = targets.load("jetson-nano")


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, World())


def cfg(search: dict[str, Any] | None = None, **tune: Any) -> Config:
    space = {"space": {"width": {"low": 0.5, "high": 1.0}}}
    return config.parse(
        {"project": {"name": "a"}, "search": {**space, **(search or {})}, "tune": tune}
    )


def table(found: LatencyTable | Macs) -> LatencyTable:
    found.close()
    assert isinstance(found, LatencyTable)
    return found


def test_this_machine_is_measured_in_the_search_s_folder(tmp_path: Path) -> None:
    found = table(open_latency(cfg(), HOST, tmp_path))
    assert (found.path, found.unit) == (tmp_path / "table", "s")
    assert found.boards is not None
    assert not found.path.exists()


def test_a_table_that_the_file_names(tmp_path: Path) -> None:
    found = table(open_latency(cfg({"table": str(tmp_path / "mine")}), HOST, tmp_path))
    assert found.path == tmp_path / "mine"


def test_boards_at_a_tracker(tmp_path: Path) -> None:
    asked = cfg({"budget": "12M"}, tracker="boards:9190", key="nano", boards=2)
    found = table(open_latency(asked, NANO, tmp_path))
    assert found.unit == "instructions"
    found = table(open_latency(cfg(tracker="boards:9190", key="nano"), NANO, tmp_path))
    assert found.unit == "s"


def test_this_machines_gpu_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goal = targets.load("jetson-nano-gpu")
    monkeypatch.setattr(here, "why_not", lambda target, timed=True: None)
    found = table(open_latency(cfg(), goal, tmp_path))
    assert found.boards is not None
    assert found.unit == "s"


def test_without_boards_a_table_only_predicts(tmp_path: Path) -> None:
    toys.records_of(tmp_path / "table", "jetson-nano")
    found = table(open_latency(cfg(), NANO, tmp_path))
    assert found.boards is None


def test_without_boards_and_table_operations_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = open_latency(cfg(), NANO, tmp_path)
    found.close()
    assert isinstance(found, Macs)
    said = capsys.readouterr().err
    assert "jetson-nano: " in said
    assert "networks are judged by multiply-accumulates" in said
