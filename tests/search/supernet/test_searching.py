from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import supernets

from tvmkd import config
from tvmkd.base.errors import GateFailure, InputError, MissingError, UsageError
from tvmkd.distill import tasks
from tvmkd.search import finishing, results, sampling
from tvmkd.search.results import Point, Study
from tvmkd.search.supernet import searching, winners
from tvmkd.search.supernet.searching import search

Events = list[tuple[str, dict[str, Any]]]


def run(folder: Path, **changes: Any) -> tuple[Study, Events]:
    events: Events = []
    asked = {"budget": "1.2ms", "supernet": {}, **changes}
    return search(supernets.plan(folder, **asked), lambda *one: events.append(one)), events


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study, Events]:
    folder = tmp_path_factory.mktemp("searching")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supernets.Known, "measured", 1.0)
        study, events = run(folder)
    return folder, study, events


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses the files of an earlier search: exporting takes seconds."""

    def finish(cfg: Any, task: Any, student: Path, *more: Any) -> finishing.Finished:
        onnx = student.with_name("fp32.onnx")
        assert onnx.is_file()
        return finishing.Finished(0.0, 0.0, onnx, 0.0)

    monkeypatch.setattr(finishing, "finish", finish)


def complete(study: Study) -> list[Point]:
    return [point for point in study.points if point.state == "complete"]


def test_the_winners_are_trained_on_measured_and_within_the_budget(
    found: tuple[Path, Study, Events],
) -> None:
    folder, study, _ = found
    assert results.read(folder) == study
    assert study.complete
    done = complete(study)
    assert len(done) == 2
    for point in done:
        assert point.measured is not None
        assert point.predicted is not None
        assert point.epochs == 2
        assert point.checkpoint is not None
        assert (folder / point.checkpoint).is_file()
        # The known latency counts weights, and normalisation is folded into them.
        assert 0.7 * point.predicted < point.measured < point.predicted
    assert study.winner in [point.number for point in done]
    others = [point for point in study.points if point.state == "pruned"]
    assert len(study.points) == 8
    assert all(point.accuracy is not None and point.checkpoint is None for point in others)
    assert all(
        point.predicted is not None and point.predicted > 1.2 and point.accuracy is None
        for point in study.points
        if point.state == "infeasible"
    )
    # Those that were trained on were the best with the weights of the supernet.
    assert study.board_seconds == 4.0
    assert study.training_seconds > sum(point.seconds for point in done)
    assert study.teacher["model"] == "residual"


def test_the_latency_table_is_filled_before_anything_is_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def prepare(latency: Any, space: Any, task: Any, **more: Any) -> None:
        assert isinstance(latency, supernets.Known)
        asked.append((sorted(each.name for each in space.parameters), task.input_shape))
        more["progress"].add_task("kernels", total=3)
        more["progress"].update(0, completed=1)
        raise MissingError("no board answers")

    monkeypatch.setattr(sampling, "prepare", prepare)
    events: Events = []
    with pytest.raises(MissingError):
        search(supernets.plan(tmp_path, budget="1us"), lambda *one: events.append(one))
    assert asked == [(["kernel", "width.0", "width.1"], (1, 1, 8, 8))]
    assert ("doing", {"worker": 0, "text": "kernels", "done": 1, "total": 3}) in events


def test_the_winner_is_a_file_that_builds_its_network(found: tuple[Path, Study, Events]) -> None:
    folder, study, _ = found
    won = next(point for point in study.points if point.number == study.winner)
    cfg = config.read(folder / "winner" / "tvmkd.toml")
    task = tasks.make(cfg)
    assert cfg.student.checkpoint is not None
    network = task.restore(cfg.student.checkpoint)
    assert task.score(network, "val") == won.accuracy
    assert task.score(network, "test") == won.test_accuracy
    assert sum(weight.numel() for weight in network.parameters()) == won.parameters
    assert (folder / "pareto.html").is_file()


def test_events_tell_what_is_done(found: tuple[Path, Study, Events]) -> None:
    _, study, events = found
    doing = [data for name, data in events if name == "doing"]
    assert doing[0]["text"] == "looking for a network within the budget"
    assert [data["done"] for data in doing if data["text"].startswith("supernet")] == [0, 1, 2, 3]
    assert any(data["text"] == "winner 2 of 2: measuring" for data in doing)
    studies = [data["study"] for name, data in events if name == "study"]
    # Two generations, two winners.
    assert [len(each.points) for each in studies] == [4, 8, 8, 8]
    assert [len(complete(each)) for each in studies] == [0, 0, 1, 2]
    assert studies[-1].points == study.points


def test_the_same_again_trains_nothing_and_finds_the_same(
    found: tuple[Path, Study, Events], exported: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, study, _ = found
    monkeypatch.setattr(supernets.Known, "measured", 1.0)
    files = [*folder.rglob("*.pt")]
    before = {path: path.stat().st_mtime_ns for path in files if "winner" not in path.parts}
    monkeypatch.setattr(
        "tvmkd.search.supernet.judging.Judge.score", lambda *_: pytest.fail("they are known")
    )
    again, _ = run(folder)
    assert again == study
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_budget_needs_no_other_supernet(
    found: tuple[Path, Study, Events], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, study, _ = found
    before = (folder / "supernet" / "supernet.pt").stat().st_mtime_ns
    monkeypatch.setattr(winners, "tune", lambda *_: pytest.fail("too slow"))
    with pytest.raises(GateFailure, match=r"no network of the space meets the budget of 0\.1 ms"):
        run(folder, budget="0.1ms")
    assert (folder / "supernet" / "supernet.pt").stat().st_mtime_ns == before
    assert results.read(folder) == study


def test_faults_of_winners_are_in_their_points(
    found: tuple[Path, Study, Events], exported: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, study, _ = found
    first, second = (
        point.structure for point in sorted(complete(study), key=lambda point: point.number)
    )
    tune = winners.tune

    def fails(cfg: Any, *more: Any) -> winners.Tuned:
        if cfg.student.args["width"] == [first["width.0"], first["width.1"]] and (
            cfg.student.args["kernel"] == first["kernel"]
        ):
            raise InputError("the loss is nan\nin batch 3")
        return tune(cfg, *more)

    monkeypatch.setattr(winners, "tune", fails)
    monkeypatch.setattr(supernets.Known, "away", True)
    again, events = run(folder)
    (failed,) = (point for point in again.points if point.state == "failed")
    assert (failed.structure, failed.error) == (first, "the loss is nan in batch 3")
    (done,) = complete(again)
    assert (done.structure, done.measured) == (second, None)
    notes = [data["text"] for name, data in events if name == "note"]
    assert notes == [
        "warning: not measured: no board answers; its predicted latency stands",
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sections": {"early_exit": {"exits": ["features.3"]}}}, r"^\[early_exit\]: "),
        ({"space": {"model": ["depthwise", "mlp"]}}, "differ in student.model have none in common"),
        ({"budget": "3M"}, "the budget 3M does not fit"),
        (
            {"space": {"student.args.blocks": [[[8, 2]], [[16, 1], [16, 1]]]}},
            "is no part of the largest network: features",
        ),
    ],
)
def test_what_cannot_be_searched_is_told_before_any_training(
    tmp_path: Path, changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tvmkd.distill.trainer.Trainer.fit", lambda *_: pytest.fail("trains"))
    with pytest.raises(InputError, match=says):
        run(tmp_path, **changes)


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="without torchrun"):
        run(tmp_path)


def test_channel_counts_are_those_that_are_efficient_on_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"width": {"low": 0.5, "high": 2.0, "channels": "efficient"}}
    with pytest.raises(GateFailure):
        run(tmp_path, space=space, budget="1us")
    (path,) = (tmp_path / "supernet").glob("channels-*.json")
    found = json.loads(path.read_text())["width"]
    assert 2 < len(found) < 64
    assert 1.8 < found[-1] <= 2.0
    drawn = []

    def check(blueprints: Any, *more: Any, **settings: Any) -> None:
        drawn.extend(blueprints.space.parameters[0].listed)
        raise GateFailure("enough")

    monkeypatch.setattr(searching, "check_budget", check)
    monkeypatch.setattr(searching, "efficient_channels", None)
    with pytest.raises(GateFailure, match="enough"):
        run(tmp_path, space=space, budget="1us")
    assert drawn == found, "they are kept"
