from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stand_ins

from tvmkd import targets
from tvmkd.distill import tasks
from tvmkd.distill.session import Session
from tvmkd.search.study import networks as module
from tvmkd.search.study.networks import Networks


@pytest.fixture
def networks(tmp_path: Path) -> Networks:
    return Networks(tmp_path, targets.load("host"))


def test_a_network_is_built_with_its_data_and_size(networks: Networks, tmp_path: Path) -> None:
    cfg = stand_ins.toy(student={"args": {"stem": 8, "blocks": [[16, 1]], "width": 2.0}})
    found = networks.build(cfg)
    assert found.shape == (1, 1, 8, 8)
    assert found.size.parameters == sum(p.numel() for p in found.network.parameters())
    assert found.session.cfg == found.session.task.cfg == cfg
    assert found.folder.parent == tmp_path / "trials"


def test_data_is_loaded_once_and_another_size_of_images_is_other_data(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []
    real = tasks.make

    def make(cfg: Any, search_in: Any) -> Any:
        loaded.append(cfg.data.image_size)
        return real(cfg, search_in)

    monkeypatch.setattr(tasks, "make", make)
    shapes = [
        networks.build(stand_ins.toy(data={"dataset": "digits", "image_size": size})).shape[-1]
        for size in (8, 16, 8, 16)
    ]
    assert shapes == [8, 16, 8, 16]
    assert loaded == [8, 16]


def folders(networks: Networks, **changes: Any) -> tuple[str, str]:
    """Of the training and of the teacher."""
    found = networks.build(stand_ins.toy(**changes))
    return found.folder.name, found.session.out.name


def test_what_shares_a_training_and_a_teacher(networks: Networks) -> None:
    training, teacher = folders(networks)
    assert folders(networks, quantize={"method": "ptq"}) == (training, teacher)
    other = folders(networks, student={"args": {"stem": 16, "blocks": [[16, 1]]}})
    assert other[0] != training
    assert other[1] == teacher
    other = folders(networks, data={"dataset": "digits", "image_size": 16})
    assert other[0] != training
    assert other[1] != teacher


def test_the_teacher_is_made_once_and_kept(networks: Networks, monkeypatch: Any) -> None:
    made: list[str] = []
    monkeypatch.setattr(Session, "teacher", lambda self: made.append(self.out.name) or (None, None))
    sessions = [
        networks.session(stand_ins.toy(data={"dataset": "digits", "image_size": size}))
        for size in (8, 9, 10)
    ]
    for number in (0, 0, 1, 1, 2, 2):
        assert networks.teacher(sessions[number]) is not None
    assert made == [session.out.name for session in sessions]
    assert len(networks._teachers) == module.TEACHERS_KEPT
    assert networks.teacher(networks.session(stand_ins.toy(distill={"loss": "ce"}))) is None
