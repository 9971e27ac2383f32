from __future__ import annotations

from pathlib import Path

import pytest
import stand_ins
import torch

from tvmkd import targets
from tvmkd.distill.training import Rungs
from tvmkd.models import checkpoint
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
    training = Distilling(networks)
    cfg = stand_ins.toy(student=STUDENT)
    candidate = networks.build(cfg)
    teacher = training.teacher(candidate)
    assert teacher is not None
    assert teacher.model == "residual"
    notes: list[tuple[int, str]] = []

    def stop(epoch: int, score: float) -> None:
        raise StopIteration

    with pytest.raises(StopIteration):
        training.fit(candidate, Rungs(frozenset({1}), stop), lambda *note: notes.append(note))
    assert [done for done, _ in notes] == [0, 1]
    before = seconds_before(candidate)
    assert before > 0
    stopped = training.fit(candidate, NEVER, lambda *note: notes.append(note))
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
    training = Distilling(networks)
    candidate = networks.build(stand_ins.toy(student=STUDENT, distill={"loss": "ce", "epochs": 1}))
    assert training.teacher(candidate) is None
    found = training.fit(candidate, NEVER, lambda *note: None)
    assert 0 <= found.score <= 1
    assert not (networks.folder / "teachers").exists()


def test_a_damaged_checkpoint_has_no_seconds(networks: Networks) -> None:
    candidate = networks.build(stand_ins.toy(student=STUDENT))
    assert seconds_before(candidate) == 0
    candidate.folder.mkdir(parents=True)
    weights(candidate).write_bytes(b"half")
    assert seconds_before(candidate) == 0
