"""``method = "joint"`` as a whole, on a toy space with a table that is made up."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stand_ins
from tunable_sums import TunableSums

from tvmkd import config
from tvmkd.base.errors import GateFailure, InputError, MissingError, UsageError
from tvmkd.base.locks import Lock
from tvmkd.search import winner
from tvmkd.search.joint import searching
from tvmkd.search.results import Study

SETTINGS = {"rounds": 3, "board_seconds": 60.0, "batch": 16}


@dataclass
class Done:
    study: Study
    events: list[tuple[str, dict[str, Any]]]


def search(folder: Path, training: str = "stand_ins:Saving", **changes: Any) -> Done:
    events: list[tuple[str, dict[str, Any]]] = []
    latency = changes.pop("latency", "tunable_sums:tunable")
    given = {**stand_ins.SECTIONS["search"], "method": "joint", "trials": 6, "joint": SETTINGS}
    cfg = stand_ins.toy(search={**given, **changes})
    plan = stand_ins.plan(folder, cfg, training=training, latency=latency)
    study = searching.search(plan, lambda *event: events.append(event))
    return Done(study, events)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def done(folder: Path) -> Done:
    """A finished search of six networks."""
    return search(folder, "stand_ins:Saving")


def test_trains_tunes_measures_and_writes_the_winner(done: Done, folder: Path) -> None:
    study = done.study
    assert (study.method, study.complete) == ("joint", True)
    assert [point.state for point in study.points] == ["complete"] * 6
    assert study.board_seconds > 58.0  # and two for each network that was measured
    assert json.loads((folder / "study.json").read_text()) == json.loads(study.model_dump_json())
    (won,) = [point for point in study.points if point.number == study.winner]
    assert won.measured is not None
    again = config.read(folder / winner.WINNER / "tvmkd.toml")
    assert again.student.args["width"] == won.structure["width"]
    assert (folder / "pareto.html").is_file()


def test_points_have_the_latencies_of_the_tuned_table(done: Done) -> None:
    first = {
        point.number: point.predicted
        for name, data in reversed(done.events)
        if name == "study"
        for point in data["study"].points
    }
    last = {point.number: point.predicted for point in done.study.points}
    faster = [last[number] < first[number] for number in first]
    assert any(faster)  # some number of trials makes a kernel faster, and never slower
    assert all(last[number] <= first[number] for number in first)


def test_networks_are_measured_at_the_end_only(done: Done) -> None:
    measured = [
        any(point.measured is not None for point in data["study"].points)
        for name, data in done.events
        if name == "study"
    ]
    assert not any(measured)


def test_the_same_search_again_trains_and_tunes_nothing(
    done: Done, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNING_AWAY", "1")
    monkeypatch.setattr("tvmkd.search.study.trial.carry_out", None)
    again = search(folder).study
    assert [each.structure for each in again.points] == [
        each.structure for each in done.study.points
    ]
    assert again.winner == done.study.winner
    assert again.board_seconds == done.study.board_seconds


def test_a_search_that_has_ended_trains_more_networks_and_measures_anew(
    done: Done, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = list[Path]()
    real = TunableSums.measure

    def measure(self: TunableSums, onnx: Path) -> Any:
        measured.append(onnx)
        return real(self, onnx)

    monkeypatch.setattr(TunableSums, "measure", measure)
    shutil.copytree(folder, tmp_path / "copy")
    joint = {**SETTINGS, "board_seconds": 90.0}
    more = search(tmp_path / "copy", trials=8, joint=joint).study
    assert len(more.points) == 8
    assert more.board_seconds > done.study.board_seconds + 25
    assert measured, "what was measured before is out of date"
    assert sum(point.measured is not None for point in more.points) == len(measured)


def test_a_second_search_in_the_folder_is_refused(tmp_path: Path) -> None:
    with (
        Lock(tmp_path / ".joint.lock", "searching here", ""),
        pytest.raises(InputError, match="is searching here; wait for it or give another"),
    ):
        search(tmp_path)


def test_a_board_that_goes_away_stops_it_and_it_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNING_AWAY", "1")
    with pytest.raises(MissingError, match="no board answers"):
        search(tmp_path, "stand_ins:Waiting")
    kept = Study.model_validate_json((tmp_path / "study.json").read_text())
    assert len(kept.points) == 2  # of the first of three rounds
    monkeypatch.delenv("TUNING_AWAY")
    study = search(tmp_path, "stand_ins:Waiting").study
    assert [each.structure for each in study.points[:2]] == [each.structure for each in kept.points]
    assert len(study.points) == 6


def test_a_training_that_was_interrupted_is_continued_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(bench: Any, trial: Any, structure: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tvmkd.search.study.worker.carry_out", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path, "stand_ins:Waiting", trials=3)
    study = search(tmp_path, "stand_ins:Waiting", trials=3).study
    assert [each.state for each in study.points] == ["complete"] * 3
    assert study.points[0].number == 1  # the trial that was handed back is none


def test_failed_trainings_are_points_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "2.0")
    study = search(tmp_path, "stand_ins:Waiting", trials=10).study
    failed = [point for point in study.points if point.state == "failed"]
    assert failed
    assert {point.error for point in failed} == {"width 2.0 is unlucky"}
    assert len(study.points) == 10


def test_the_budget_is_met_by_tuned_networks(tmp_path: Path) -> None:
    """The fastest network takes 0.4 ms untuned: the budget counts on tuning it."""
    study = search(tmp_path, "stand_ins:Waiting", budget="1ms", measure=False).study
    assert study.winner is not None
    (won,) = [point for point in study.points if point.number == study.winner]
    assert won.latency is not None
    assert won.latency <= 1.0


def test_a_space_that_is_too_slow_ends_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(GateFailure, match=r"no network of the space meets the budget of 0.01 ms"):
        search(tmp_path, budget="10us")
    assert not (tmp_path / "trials").exists()


def test_without_a_board_there_is_nothing_to_tune(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no board to tune them on"):
        search(tmp_path, latency="stand_ins:sums")


def test_several_workers_are_refused_by_a_warning(tmp_path: Path) -> None:
    done = search(tmp_path, "stand_ins:Waiting", workers=2, trials=2)
    notes = [data["text"] for name, data in done.events if name == "note"]
    assert notes[0] == 'warning: method = "joint" works in one process, not several'


def test_shows_what_it_does(done: Done) -> None:
    texts = [data["text"] for name, data in done.events if name == "doing"]
    assert "lowering networks: 1" in texts
    assert "measuring trial" in " ".join(texts)


def test_exits_are_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "fill_table", None)
    space = {"width": [0.5, 1.0], "exits": [False, ["features.3"]]}
    with pytest.raises(UsageError, match="not for networks with early exits: take exits"):
        search(tmp_path, space=space)
