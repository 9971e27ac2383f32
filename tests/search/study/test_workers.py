from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import stand_ins

from tvmkd.base import machine
from tvmkd.base.errors import InputError, WorkerDied
from tvmkd.search.study import workers

Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def doing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Workers that do something, by their numbers."""
    monkeypatch.setattr(workers, "PROCESS", "stand_in_worker")

    def make(*does: str) -> workers.Workers:
        monkeypatch.setenv("STAND_IN_WORKER", json.dumps(does))
        return workers.Workers(stand_ins.plan(tmp_path), len(does))

    return make


def run(team: workers.Workers) -> Events:
    events: Events = []
    with team:
        team.run(lambda name, data: events.append((name, data)))
    return events


def test_workers_work_at_once_with_their_share_of_the_cores(doing: Any) -> None:
    events = run(doing("one", "two"))
    assert sorted(data["text"] for name, data in events if name == "doing") == ["one", "two"]
    assert sum(name == "trial" for name, _ in events) == 2
    threads = {data["threads"] for name, data in events if name == "doing"}
    assert threads == {str(max(1, machine.physical_cores() // 2))}


def test_the_others_go_on_if_one_fails_and_if_all_fail_that_is_said(doing: Any) -> None:
    events = run(doing("fails", "works"))
    notes = [data["text"] for name, data in events if name == "note"]
    assert len(notes) <= 1  # none if the other one was done before
    assert all("worker 1 has ended: all networks failed" in note for note in notes)
    with pytest.raises(InputError, match="all networks failed"):
        run(doing("fails", "fails"))


def test_a_process_that_died_is_started_again_and_not_for_ever(doing: Any) -> None:
    events = run(doing("dies once"))
    assert [name for name, _ in events] == ["doing", "note", "doing", "trial"]
    assert "signal SIGKILL" in events[1][1]["text"]
    with pytest.raises(WorkerDied, match="SIGKILL"):
        run(doing("dies"))


def test_workers_hand_back_their_trials_when_the_search_is_interrupted(
    doing: Any, tmp_path: Path
) -> None:
    def interrupt(name: str, data: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), doing("works on") as team:
        team.run(interrupt)
    assert (tmp_path / "handed back").exists()


SEARCH = """
import sys
from pathlib import Path
import stand_ins
from tvmkd.search.study.studying import study

def event(name, data):
    if name == "note":
        print(data["text"], flush=True)

search = {**stand_ins.SECTIONS["search"], "trials": 6, "workers": 2, "stop": "never"}
training = "tvmkd.search.study.training:Distilling"
cfg = stand_ins.toy(search=search, distill={**stand_ins.SECTIONS["distill"], "epochs": 30})
found = study(stand_ins.plan(Path(sys.argv[1]), cfg, training=training), event)
assert sum(point.state == "complete" for point in found.points) >= 6
"""


@pytest.mark.slow  # starts three processes with torch, twice
def test_a_search_that_was_killed_with_its_workers_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SEARCH, str(tmp_path)]
    path = {"PYTHONPATH": ":".join(part for part in sys.path if part)}
    env = {**__import__("os").environ, **path}
    first = subprocess.Popen(command, env=env)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and len(list(tmp_path.glob("trials/*/student.pt"))) < 2:
        time.sleep(0.05)
    first.kill()
    first.wait()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400, check=True)
    assert "its process died; it is continued" in done.stdout
    points = json.loads((tmp_path / "study.json").read_text())["points"]
    structures = [str(point["structure"]) for point in points]
    assert len(structures) == len(set(structures))
