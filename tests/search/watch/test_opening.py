from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd import config, targets
from tvmkd.base import resources
from tvmkd.base.errors import UsageError
from tvmkd.boards import here
from tvmkd.search.watch import opening

TASK: Any = SimpleNamespace(input_shape=(1, 1, 8, 8))
BOARD = targets.load("jetson-nano")


def parsed(tune: dict[str, Any] | None = None, **distill: Any) -> config.Config:
    given = {"watch": "1.5 ms", "watch_every": 7, **distill}
    return config.parse(
        {
            "project": {"name": "x"},
            "distill": given,
            "tune": tune or {},
            "export": {"batch": 4},
        }
    )


def test_a_target_that_runs_nowhere_is_refused_before_the_training() -> None:
    with pytest.raises(UsageError, match=r"jetson-nano does not run on this machine.*tracker"):
        opening.check(parsed(), BOARD)
    opening.check(parsed({"tracker": "127.0.0.1:9190", "key": "nano"}), BOARD)
    opening.check(parsed(), targets.load("host"))


def test_the_watch_is_what_the_config_says(tmp_path: Path) -> None:
    shipped = resources.folder("schedules") / "relax" / "jetson-nano"
    records = [tmp_path / "none", shipped, shipped]
    tune = {"tracker": "127.0.0.1:9190", "key": "nano"}
    with opening.open_watch(parsed(tune), BOARD, tmp_path, TASK, records) as watch:
        assert (watch._budget, watch._every, watch._kind) == (1.5, 7.0, "distilled")
        assert not watch._here
        assert (watch._boards._tracker, watch._boards._key) == (("127.0.0.1", 9190), "nano")
        assert watch._artifacts._records == [shipped]
        assert watch._artifacts._shape == (4, 1, 8, 8)
        assert watch._artifacts._folder == tmp_path / "watch"


def test_this_machine_is_used_where_it_runs_the_target(tmp_path: Path) -> None:
    tune = {"tracker": "127.0.0.1:9190"}
    with opening.open_watch(
        parsed(tune, loss="ce"), targets.load("host"), tmp_path, TASK, []
    ) as watch:
        assert watch._here
        assert watch._boards._tracker is None
        assert watch._kind == "baseline", "there is no other student"


def test_this_machines_gpu_is_watched_in_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = targets.load("jetson-nano-gpu")
    with pytest.raises(UsageError, match="does not run on this machine"):
        opening.check(parsed(), goal)
    monkeypatch.setattr(here, "why_not", lambda target, timed=True: None)
    with opening.open_watch(parsed(), goal, tmp_path, TASK, []) as watch:
        assert watch._boards._tracker is None
        assert not watch._here
    # There may be several GPUs of a kind: a tracker that is named is asked.
    tune = {"tracker": "127.0.0.1:9190", "key": "gpu"}
    with opening.open_watch(parsed(tune), goal, tmp_path, TASK, []) as watch:
        assert watch._boards._tracker == ("127.0.0.1", 9190)
