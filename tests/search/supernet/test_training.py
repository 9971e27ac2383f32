from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import supernets
import torch

from tvmkd.base.errors import InputError
from tvmkd.config import parse
from tvmkd.models import checkpoint
from tvmkd.search.space import Space
from tvmkd.search.study.bench import Plan
from tvmkd.search.study.networks import Networks as Sessions
from tvmkd.search.supernet import corners
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.networks import Networks
from tvmkd.search.supernet.training import check, train


class Killed(BaseException):
    pass


def trained(folder: Path, stop: int | None = None, **changes: Any) -> Networks:
    asked: Plan = supernets.plan(folder, **changes)
    space = Space.from_config(asked.cfg, asked.target, asked.search_in)
    sessions = Sessions(folder, asked.target, asked.search_in)
    blueprints = Blueprints(asked.cfg, space, lambda cfg: sessions.session(cfg).task)
    ends = corners.find(blueprints)

    def report(done: int, note: str) -> None:
        if done == stop:
            raise Killed

    path = folder / "supernet.pt"
    networks, state = train(blueprints, ends, asked.search.supernet, sessions, path, report)
    assert state.epoch == asked.search.supernet.epochs
    return networks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("training")
    trained(made)
    return made


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / "supernet.pt").state


def test_a_stopped_training_ends_in_the_same_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each epoch is kept, as those are that take longer than five seconds.
    session = Sessions.session
    monkeypatch.setattr(
        Sessions, "session", lambda self, cfg: replace(session(self, cfg), checkpoint_seconds=0.0)
    )
    with pytest.raises(Killed):
        trained(tmp_path, stop=2)
    assert checkpoint.load(tmp_path / "supernet.pt").epoch == 1
    networks = trained(tmp_path)
    for name, tensor in weights(folder).items():
        assert torch.equal(weights(tmp_path)[name], tensor)
        assert torch.equal(networks.largest.state_dict()[name], tensor)


def test_a_finished_one_is_read_and_other_settings_train_again(folder: Path) -> None:
    before = (folder / "supernet.pt").stat().st_mtime_ns
    trained(folder, supernet={"population": 7}, budget="3ms")
    assert (folder / "supernet.pt").stat().st_mtime_ns == before
    trained(folder, supernet={"samples": 2})
    assert (folder / "supernet.pt").stat().st_mtime_ns > before


def test_it_learns_from_the_teacher_and_has_its_own_rate(tmp_path: Path) -> None:
    networks = trained(tmp_path, supernet={"epochs": 1, "lr": 1e-9})
    (teacher,) = (tmp_path / "teachers").glob("*/teacher.pt")
    assert teacher.is_file()
    start = networks.blueprints.build(networks.corners.largest, 0).state_dict()
    for name, tensor in networks.largest.named_parameters():
        assert torch.allclose(tensor, start[name], atol=1e-6)


def test_exits_are_refused() -> None:
    cfg = parse({"project": {"name": "a"}, "early_exit": {"exits": ["features.3"]}})
    with pytest.raises(InputError, match=r"^\[early_exit\]: .* give method = \"study\""):
        check(cfg)
    check(parse({"project": {"name": "a"}, "prune": {}}))
