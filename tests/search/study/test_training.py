from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stand_ins
import torch

from tvmkd import targets
from tvmkd.base import console
from tvmkd.distill.training import Rungs
from tvmkd.models import checkpoint
from tvmkd.search.finishing import Finished
from tvmkd.search.study import training
from tvmkd.search.study.networks import Networks
from tvmkd.search.study.training import Distilling, seconds_before, weights

STUDENT = {"args": {"stem": 8, "blocks": [[16, 1]]}}
NEVER = Rungs(frozenset(), lambda epoch, score: None)


@pytest.fixture
def networks(tmp_path: Path) -> Networks:
    return Networks(tmp_path, targets.load("host"))


def test_a_student_learns_from_the_shared_teacher_and_a_stopped_training_ends_alike(
    networks: Networks, tmp_path: Path
) -> None:
    one = Distilling(networks)
    cfg = stand_ins.toy(student=STUDENT)
    candidate = networks.build(cfg)
    teacher = one.teacher(candidate)
    assert teacher is not None
    assert teacher.model == "residual"
    notes: list[tuple[int, str]] = []

    def stop(epoch: int, score: float) -> None:
        raise StopIteration

    with pytest.raises(StopIteration):
        one.fit(candidate, Rungs(frozenset({1}), stop), lambda *note: notes.append(note))
    assert [done for done, _ in notes] == [0, 1]
    before = seconds_before(candidate)
    assert before > 0
    stopped = one.fit(candidate, NEVER, lambda *note: notes.append(note))
    assert [done for done, _ in notes] == [0, 1, 1, 2]
    assert stopped.checkpoint == weights(candidate)
    assert (stopped.epochs, stopped.seconds > before) == (2, True)
    straight = Distilling(Networks(tmp_path / "again", targets.load("host")))
    candidate = straight._networks.build(cfg)
    other = straight.fit(candidate, NEVER, lambda *note: None)
    assert (other.score, other.test) == (stopped.score, stopped.test)
    states = [checkpoint.load(each.checkpoint).state for each in (stopped, other)]
    torch.testing.assert_close(*states, atol=0, rtol=0)


def test_without_a_teacher_a_student_learns_from_the_labels(networks: Networks) -> None:
    one = Distilling(networks)
    candidate = networks.build(stand_ins.toy(student=STUDENT, distill={"loss": "ce", "epochs": 1}))
    assert one.teacher(candidate) is None
    found = one.fit(candidate, NEVER, lambda *note: None)
    assert 0 <= found.score <= 1
    assert not (networks.folder / "teachers").exists()


def test_a_damaged_checkpoint_has_no_seconds(networks: Networks) -> None:
    candidate = networks.build(stand_ins.toy(student=STUDENT))
    assert seconds_before(candidate) == 0
    candidate.folder.mkdir(parents=True)
    weights(candidate).write_bytes(b"half")
    assert seconds_before(candidate) == 0


def test_networks_that_differ_in_what_comes_after_share_the_training(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(
        cfg: Any, task: Any, student: Any, teacher: Any, folder: Any, multiple: int, search_in: Any
    ) -> Finished:
        assert student.is_file()
        assert (teacher / "teacher.pt").is_file()
        assert console._quiet
        return Finished(0.25, 0.5, folder / "int8.onnx", 10.0)

    monkeypatch.setattr(training.finishing, "finish", finish)
    one = Distilling(networks)
    int8 = {"quantize": {"method": "ptq"}, "export": {"precision": "int8"}}
    notes: list[list[tuple[int, str]]] = []
    found = []
    for changes in ({}, int8, {"prune": {"ratio": 0.5, "steps": 1}}):
        candidate = networks.build(stand_ins.toy(student=STUDENT, **changes))
        told: list[tuple[int, str]] = []
        found.append(one.fit(candidate, NEVER, lambda *note, told=told: told.append(note)))
        notes.append(told)
    plain, quantised, pruned = found
    assert plain.onnx is None
    assert plain.checkpoint == quantised.checkpoint == pruned.checkpoint
    assert (quantised.score, quantised.test) == (0.25, 0.5)
    assert quantised.seconds == pytest.approx(plain.seconds + 10.0)
    assert quantised.onnx.parent.parent == plain.checkpoint.parent
    assert quantised.onnx.parent != pruned.onnx.parent
    assert [done for done, _ in notes[0]] == [0, 1, 2]
    assert [done for done, _ in notes[1]] == [2, 2], "it was trained before"
    assert [text for _, text in (notes[1][-1], notes[2][-1])] == [
        "putting it into int8",
        "pruning it",
    ]
