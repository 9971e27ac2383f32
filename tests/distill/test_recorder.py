from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small

from tvmkd.base.errors import InputError, MissingError
from tvmkd.distill import distill, loggers, recorder
from tvmkd.distill.distributed import ALONE, Team
from tvmkd.distill.recorder import Recorder, averaged
from tvmkd.models import checkpoint
from tvmkd.report import training_history as histories
from tvmkd.report import training_page

SECTION = {"epochs": 3, "seeds": [0], "baseline": False}
ALONG = small(teacher={"epochs": 2}, distill=SECTION)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def student(folder: Path) -> histories.History:
    found = histories.read(folder / "students" / f"distilled-0{histories.SUFFIX}")
    assert found is not None
    return found


def test_a_run_leaves_histories_and_a_page(tmp_path: Path) -> None:
    distill(ALONG, tmp_path)
    teacher, found = histories.of_run(tmp_path)
    assert (teacher.head.kind, len(teacher.epochs)) == ("teacher", 2)
    assert (found.head.name, found.head.kind) == ("distilled student (seed 0)", "distilled student")
    assert found.head.percent
    assert [entry.epoch for entry in found.epochs] == [1, 2, 3]
    saved = checkpoint.load(tmp_path / "students" / "distilled-0.pt")
    assert [entry.loss for entry in found.epochs] == [entry["loss"] for entry in saved.history]
    assert found.epochs[-1].score == saved.history[-1]["val_accuracy"]
    for entry in found.epochs:
        assert sum(entry.parts.values()) == pytest.approx(entry.loss, rel=1e-4)
        assert {"data", "forward", "step"} <= set(entry.seconds)
        assert entry.gradient_norm is not None
        assert entry.gradient_norm_max is not None
        assert 0 < entry.gradient_norm <= entry.gradient_norm_max
    rates = [entry.lr for entry in found.epochs]
    assert rates[0] is not None
    assert rates[-1] is not None
    assert 4e-3 > rates[0] > rates[-1] > 0
    assert "distilled student (1)" not in (tmp_path / "training.html").read_text()
    assert "distilled student" in (tmp_path / "training.html").read_text()


def test_a_killed_run_goes_on_without_an_epoch_twice_and_ends_the_same(tmp_path: Path) -> None:
    def stop(path: Path, epoch: int, network: torch.nn.Module) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(ALONG, tmp_path, after_checkpoint=stop, checkpoint_seconds=0)
    # The page of a run that was stopped says so: it was drawn on the way out.
    assert "stopped after epoch 1 of 3" in (tmp_path / "training.html").read_text()
    first = student(tmp_path).epochs[0]
    distill(ALONG, tmp_path)
    found = student(tmp_path).epochs
    assert [entry.epoch for entry in found] == [1, 2, 3]
    assert found[0] == first
    # The second one was in the checkpoint, and the process died before its line.
    assert found[1].seconds == {}
    again = distill(ALONG, tmp_path)
    assert list(student(tmp_path).epochs) == list(found)
    assert again.metrics.exists()


def test_recording_changes_no_weight(tmp_path: Path) -> None:
    cfg = small(project={"log_to": "quiet_logger:log"}, distill={**SECTION, "loss": "ce"})
    (tmp_path / "quiet_logger.py").write_text("def log(training, epoch, values): ...\n")
    ends = []
    for name, one in (("a", cfg), ("b", small(distill={**SECTION, "loss": "ce"}))):
        result = distill(one, tmp_path / name, search_in=[tmp_path])
        saved = checkpoint.load(result.runs[0].checkpoint)
        ends.append((saved.meta["training"], checkpoint.fingerprint(saved.state)))
    assert ends[0] == ends[1]


def test_a_training_that_fails_before_an_epoch_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken_loss.py").write_text(
        "def loss(student, teacher, labels, weights=None):\n"
        "    return student.sum() * float('nan')\n"
    )
    cfg = small(teacher={"epochs": 0}, distill={**SECTION, "loss": "broken_loss:loss"})
    with pytest.raises(InputError, match="the loss is nan in batch 1"):
        distill(cfg, tmp_path / "run", search_in=[tmp_path])
    assert not list((tmp_path / "run").rglob("*.*"))


def test_a_training_from_before_has_its_loss_and_scores(tmp_path: Path) -> None:
    distill(ALONG, tmp_path)
    for path in tmp_path.rglob(f"*{histories.SUFFIX}"):
        path.unlink()
    distill(ALONG, tmp_path)
    assert [entry.seconds for entry in student(tmp_path).epochs] == [{}, {}, {}]
    assert "was trained before there were histories" in (tmp_path / "training.html").read_text()


def test_a_disk_that_is_full_is_one_warning_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> Any:
        raise InputError("a.jsonl: the disk is full")

    monkeypatch.setattr(histories, "append", full)
    monkeypatch.setattr(recorder, "EVERY", 0.0)
    distill(ALONG, tmp_path)
    said = capsys.readouterr().err.replace("\n", " ")
    assert said.count("the disk is full; the training goes on") == 1
    assert (tmp_path / "student.pt").exists()


def test_a_fault_in_the_page_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training_page, "render", lambda *_: 1 / 0)
    distill(small(distill={**SECTION, "loss": "ce"}), tmp_path)
    assert "division by zero" in capsys.readouterr().err.replace("\n", " ")
    assert (tmp_path / "student.pt").exists()


def test_a_logger_gets_the_epochs_of_every_training_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    class Telling:
        def start(self, name: str, head: histories.Head, done: int) -> None:
            told.append((name, head.epochs, done))

        def log(self, name: str, epoch: int, values: Mapping[str, float]) -> None:
            told.append((name, epoch))
            assert values["loss/total"] > 0

        def close(self) -> None:
            told.append("closed")

    monkeypatch.setattr(loggers, "make", lambda *_: Telling())
    cfg = small(project={"log_to": "tensorboard"}, teacher={"epochs": 1}, distill=SECTION)
    distill(cfg, tmp_path)
    assert told == [
        *(("teacher", 1, 0), ("teacher", 1), ("students/distilled-0", 3, 0)),
        *(("students/distilled-0", epoch) for epoch in (1, 2, 3)),
        "closed",
    ]
    told.clear()
    distill(cfg, tmp_path)
    assert told == ["closed"], "finished trainings are not logged again"


def test_a_logger_that_is_not_there_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(MissingError, match="pip install"):
        distill(small(project={"log_to": "mlflow"}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_the_leader_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "make", lambda *_: pytest.fail("a follower logs"))
    (tmp_path / "quiet_logger.py").write_text("def log(training, epoch, values): ...\n")
    follower = Team(1, 2, torch.device("cpu"))
    with Recorder(tmp_path, follower, "quiet_logger:log", "x", [tmp_path]) as made:
        assert made.logger is None
    assert not (tmp_path / "training.html").exists()


def test_pages_are_drawn_at_most_every_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, drawn = [0.0], list[float]()
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])

    def draw(*_: Any) -> None:
        drawn.append(now[0])
        now[0] += 0.2

    monkeypatch.setattr(training_page, "write", draw)
    made = Recorder(tmp_path, ALONE)
    head = histories.Head("a", "a", "x", 9, "accuracy")
    entry = histories.Epoch(1, 0.5)
    history = histories.continued(tmp_path / f"teacher{histories.SUFFIX}", head, [entry])
    for _ in range(40):
        made.show(history)
        now[0] += 1
    # 0.2 s to draw: not more often than every 20 s.
    assert drawn == [0.0, pytest.approx(21.2, abs=1.0)]
    with made:
        pass
    assert len(drawn) == 3, "and always at the end"


def test_parts_are_the_mean_over_processes() -> None:
    assert averaged([{"a": 1.0, "b": 4.0}, {"a": 3.0}]) == {"a": 2.0, "b": 2.0}


def test_lines_are_json_without_what_is_not_known(tmp_path: Path) -> None:
    distill(small(distill={**SECTION, "loss": "ce"}), tmp_path)
    path = tmp_path / "students" / f"baseline-0{histories.SUFFIX}"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["format"] == "tvmkd.history"
    assert None not in lines[1].values()
