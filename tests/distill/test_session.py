from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import SECTIONS, small

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.distill.classification import ClassificationTask
from tvmkd.distill.distributed import ALONE
from tvmkd.distill.session import Session
from tvmkd.distill.training import Rungs
from tvmkd.models import branched, checkpoint


def session(out: Path, cfg: config.Config, **changes: object) -> Session:
    return Session(cfg, out, ALONE, ClassificationTask(cfg), None, **changes)


def test_a_target_rounds_the_student_alone_and_the_config_has_the_last_word(tmp_path):
    here = session(tmp_path, small(), multiple=16)
    known = {"classes": 10, "channels": 1, "size": 8}
    assert here.kwargs("student", "mlp", {}) == {**known, "multiple": 16}
    assert here.kwargs("teacher", "mlp", {}) == known
    assert here.kwargs("student", "mlp", {"multiple": 8})["multiple"] == 8


def test_the_seed_gives_the_weights(tmp_path):
    here = session(tmp_path, small())
    prints = [
        checkpoint.fingerprint(here.build("student", "mlp", {}, seed).state_dict())
        for seed in (0, 0, 1)
    ]
    assert prints[0] == prints[1] != prints[2]
    with pytest.raises(InputError, match='did you mean "mlp"'):
        here.build("student", "mpl", {}, 0)


def test_the_teacher_is_frozen_and_trained_once(tmp_path):
    teacher, size = session(tmp_path, small()).teacher()
    assert not teacher.training
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert size.model == "residual"
    assert size.seconds > 0
    kept = (tmp_path / "teacher.pt").stat().st_mtime_ns
    again, same = session(tmp_path, small()).teacher()
    assert (tmp_path / "teacher.pt").stat().st_mtime_ns == kept
    assert same == size
    ready = small(teacher={"checkpoint": str(tmp_path / "teacher.pt")})
    loaded, _ = session(tmp_path / "elsewhere", ready).teacher()
    assert not (tmp_path / "elsewhere").exists()
    for other in (again, loaded):
        torch.testing.assert_close(other.state_dict(), teacher.state_dict(), atol=0, rtol=0)


def test_the_teacher_alone_sees_its_own_augmentation(tmp_path):
    weights = []
    for number, changes in enumerate(
        [{"teacher": {"augment": "none"}}, {"data": {**SECTIONS["data"], "augment": "none"}}, {}]
    ):
        here = session(tmp_path / str(number), small(**changes))
        weights.append(checkpoint.fingerprint(here.teacher()[0].state_dict()))
    assert weights[0] == weights[1] != weights[2]


def test_a_teacher_may_be_stopped_early(tmp_path):
    whole, part = ({**SECTIONS["teacher"], "epochs": 4, "stop_at": share} for share in (1.0, 0.5))
    here = session(tmp_path, small(teacher=part))
    here.teacher()
    found = checkpoint.load(tmp_path / "teacher.pt")
    assert found.epoch == 2
    session(tmp_path, small(teacher=whole)).teacher()
    after = checkpoint.load(tmp_path / "teacher.pt")
    assert after.epoch == 4
    assert [one["loss"] for one in after.history[:2]] == [one["loss"] for one in found.history]


def test_a_teacher_that_guesses_or_answers_nan_is_told(tmp_path, capsys, monkeypatch):
    good = small(teacher={**SECTIONS["teacher"], "epochs": 8, "lr": 8e-3})
    session(tmp_path, good).teacher()
    assert "no better than guessing" not in capsys.readouterr().err
    here = session(tmp_path, small(teacher={**SECTIONS["teacher"], "epochs": 0}))
    here.teacher()
    assert "no better than guessing" in capsys.readouterr().err
    build = Session.build

    def silent(self, role, spec, args, seed):
        network = build(self, role, spec, args, seed)
        network.register_forward_hook(lambda module, inputs, output: output * float("nan"))
        return network

    monkeypatch.setattr(Session, "build", silent)
    with pytest.raises(InputError, match=r'teacher "residual": its outputs .* are NaN'):
        here.teacher()


def test_rungs_do_not_change_where_a_training_ends(tmp_path):
    here, ends = session(tmp_path, small()), []
    for name in ("straight", "stopped"):
        network, job = here.student(0, tmp_path / f"{name}.pt", name, None)
        if name == "stopped":

            def stop(epoch, score):
                raise StopIteration

            with pytest.raises(StopIteration):
                here.fit(network, replace(job, rungs=Rungs(frozenset({2}), stop)))
            assert checkpoint.load(job.path).epoch == 2
            network, job = here.student(0, tmp_path / f"{name}.pt", name, None)
        ends.append(here.fit(network, job).state)
    torch.testing.assert_close(*ends, atol=0, rtol=0)


def test_branches_that_could_not_be_fused_are_refused_before_the_training(tmp_path):
    (tmp_path / "read_twice.py").write_text(
        "from torch import nn\n\n\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, **_others):\n"
        "        super().__init__(nn.Conv2d(1, 10, 1), nn.BatchNorm2d(10))\n"
        "        self[0].bias = None\n\n"
        "    def forward(self, x):\n"
        "        x = self[0](x)\n"
        "        return (x + self[1](x)).mean((2, 3))\n"
    )
    cfg = small(student={"model": "read_twice:Net", "reparam": 2})
    here = Session(cfg, tmp_path, ALONE, ClassificationTask(cfg, [tmp_path]), None)
    with pytest.raises(InputError, match="reparam = 2: the branches could not be fused into"):
        here.student(0, tmp_path / "s.pt", "student", None)


def test_a_student_with_branches_trains_as_such_and_comes_out_plain(tmp_path):
    student = {"model": "depthwise", "args": {"stem": 8, "blocks": [[8, 1]]}}
    plain, other = (
        session(tmp_path, small(student={**student, **more}, distill={"epochs": 1}))
        for more in ({}, {"reparam": 2})
    )
    size = plain.size("depthwise", plain.build("student", *plain.student_model, 0))
    network, job = other.student(0, tmp_path / "s.pt", "student", None)
    assert branched.present(network)
    assert other.size("depthwise", network).macs == size.macs
    _, without = plain.student(0, tmp_path / "s.pt", "student", None)
    assert job.model == without.model
    assert job.loss_id == {**without.loss_id, "reparam": 2}
    other.fit(network, job)
    assert not branched.present(network)
    found = other.task.restore(tmp_path / "s.pt")
    torch.testing.assert_close(found.state_dict(), network.state_dict(), atol=0, rtol=0)
    assert other.evaluate(found, "test") == other.evaluate(network, "test")
