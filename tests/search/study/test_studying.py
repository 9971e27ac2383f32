from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna_dashboard
import pytest
import stand_ins

from tvmkd import config
from tvmkd.base.errors import GateFailure, InputError
from tvmkd.search import winner
from tvmkd.search.results import Study
from tvmkd.search.study import studying
from tvmkd.search.study.storage import open_storage

DISTILLING = "tvmkd.search.study.training:Distilling"


def search(folder: Path, training: str = DISTILLING, **changes: Any) -> tuple[Study, list[Any]]:
    events: list[Any] = []
    cfg = stand_ins.toy(search={**stand_ins.SECTIONS["search"], **changes})
    plan = stand_ins.plan(folder, cfg, training=training)
    return studying.study(plan, lambda *event: events.append(event)), events


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A search that trained three networks, with its events and its folder."""
    folder = tmp_path_factory.mktemp("search")
    return *search(folder, trials=3, budget=3), folder


def test_a_search_trains_measures_and_writes_its_winner(done: Any) -> None:
    found, events, folder = done
    assert found.complete
    assert sum(point.state in ("complete", "pruned") for point in found.points) == 3
    assert json.loads((folder / "study.json").read_text()) == json.loads(found.model_dump_json())
    (won,) = [point for point in found.points if point.number == found.winner]
    assert won.measured is not None
    assert won.checkpoint is not None
    assert (folder / won.checkpoint).is_file()
    assert "pareto" in (folder / "pareto.html").name
    again = config.read(folder / winner.WINNER / "tvmkd.toml")
    assert again.student.args["width"] == won.structure["width"]
    assert found.teacher["model"] == "residual"
    studies = [data["study"] for name, data in events if name == "study"]
    assert len(studies) == 1 + len(found.points)


def test_the_same_search_again_trains_nothing(done: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _, folder = done
    monkeypatch.setattr("tvmkd.search.study.trial.carry_out", None)
    again, _ = search(folder, trials=3, budget=3)
    assert [point.number for point in again.points] == [point.number for point in found.points]
    assert again.winner == found.winner


def test_optuna_s_dashboard_shows_the_study(done: Any) -> None:
    found, _, folder = done
    app = optuna_dashboard.wsgi(open_storage(None, folder))

    def get(path: str) -> Any:
        environ: dict[str, Any] = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        answered: list[str] = []
        body = b"".join(app(environ, lambda *given: answered.append(given[0])))
        assert answered == ["200 OK"]
        return json.loads(body)

    (summary,) = get("/api/studies")["study_summaries"]
    assert summary["study_name"] == "toy"
    detail = get(f"/api/studies/{summary['study_id']}")
    shown = {trial["number"]: trial for trial in detail["trials"]}
    for point in found.points:
        keys = {attribute["key"] for attribute in shown[point.number]["user_attrs"]}
        assert {"predicted", "macs", "structure"} <= keys
        assert len(shown[point.number]["params"]) == 2


def test_a_space_that_is_too_slow_ends_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(GateFailure, match=r"no network of the space meets the budget of 0.1 ms"):
        search(tmp_path, budget="100us")
    assert not (tmp_path / "trials").exists()
    assert not (tmp_path / "teachers").exists()


def test_the_table_of_the_space_is_filled_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(latency: Any, space: Any, task: Any, *, seed: int, progress: Any) -> None:
        assert (len(space.parameters), task.input_shape, seed) == (2, (1, 1, 8, 8), 4)
        bar = progress.add_task("tuning kernels", total=9, note="")
        progress.update(bar, completed=4, note="some")
        raise InputError("the end of this test")

    monkeypatch.setattr(studying.sampling, "prepare", prepare)
    events: list[Any] = []
    cfg = stand_ins.toy(search={**stand_ins.SECTIONS["search"], "seed": 4})
    with pytest.raises(InputError, match="the end of this test"):
        studying.study(stand_ins.plan(tmp_path, cfg), lambda *event: events.append(event))
    doing = {"worker": 0, "text": "tuning kernels some", "done": 4, "total": 9}
    assert events == [("doing", doing)]
