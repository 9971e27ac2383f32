from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import small
from torch import nn

from tvmkd.distill import distill
from tvmkd.distill.fine_tune import fine_tune
from tvmkd.models import checkpoint

MODEL = {"spec": "x", "kwargs": {}}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    # Sums over several threads are added in another order.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def run(tmp_path_factory, one_thread) -> Path:
    folder = tmp_path_factory.mktemp("run")
    distill(small(distill={"seeds": [0], "baseline": False, "epochs": 1}), folder)
    return folder


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def tuned(folder: Path, path: Path, seed: int = 0, **changes: object) -> nn.Module:
    model = network(seed)
    fine_tune(small(**changes), folder, model, MODEL, path, name="student", epochs=2, lr=1e-2)
    return model


def test_it_trains_with_the_teacher_that_is_there(run, tmp_path):
    teacher = (run / "teacher.pt").stat().st_mtime_ns
    path = tmp_path / "tuned.pt"
    model = tuned(run, path)
    assert (run / "teacher.pt").stat().st_mtime_ns == teacher
    assert not torch.equal(model[1].weight, network()[1].weight)
    kept = checkpoint.load(path)
    assert kept.model == MODEL
    assert kept.epoch == 2
    assert torch.equal(kept.state["1.weight"], model[1].weight)
    alone = tuned(tmp_path, tmp_path / "alone.pt", distill={"loss": "ce"})
    assert not (tmp_path / "teacher.pt").exists()
    assert not torch.equal(alone[1].weight, model[1].weight)


def test_a_backbone_that_came_with_weights_keeps_its_statistics(run, tmp_path, monkeypatch):
    """What was read from a file does not know that its first training froze them."""
    settled = []
    monkeypatch.setattr(nn.Sequential, "settle", lambda self: settled.append(1), raising=False)
    tuned(run, tmp_path / "without.pt")
    assert not settled
    cfg = small(distill={"loss": "ce"})
    student = cfg.student.model_copy(update={"backbone": tmp_path / "weights.pt"})
    cfg = cfg.model_copy(update={"student": student})
    model = network()
    fine_tune(cfg, run, model, MODEL, tmp_path / "with.pt", name="student", epochs=1, lr=1e-2)
    assert settled


def test_what_it_starts_from_decides_whether_it_is_done(run, tmp_path):
    path = tmp_path / "tuned.pt"
    model = tuned(run, path)
    done = path.stat().st_mtime_ns
    assert torch.equal(tuned(run, path)[1].weight, model[1].weight)
    assert path.stat().st_mtime_ns == done
    other = tuned(run, path, seed=1)
    assert path.stat().st_mtime_ns > done
    assert not torch.equal(other[1].weight, model[1].weight)
