from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small import SECTIONS, small

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.distill import distill
from tvmkd.distill.assistants import Assistants
from tvmkd.distill.classification import ClassificationTask
from tvmkd.distill.distributed import ALONE
from tvmkd.models import checkpoint
from tvmkd.report import training_history

MIDDLE = {"model": "mlp", "args": {"width": 0.25}, "epochs": 1}
LAST = {"model": "mlp", "args": {"width": 0.125}, "epochs": 1}


def several(**distill: object) -> config.Config:
    return small(
        data={"augment": "none"},
        teacher={**SECTIONS["teacher"], "epochs": 1, "assistants": [MIDDLE, LAST]},
        distill={"epochs": 1, "seeds": [0], "baseline": False, **distill},
    )


def test_a_chain_is_distilled_one_after_the_other(tmp_path: Path) -> None:
    result = distill(several(), tmp_path)
    paths = [tmp_path / f"assistant-{number}.pt" for number in (1, 2)]
    times = [path.stat().st_mtime_ns for path in paths]
    metrics = json.loads(result.metrics.read_text())["teacher"]
    assert metrics["model"] == "residual"
    assert [one["model"] for one in metrics["assistants"]] == ["mlp", "mlp"]
    assert metrics["assistants"][0]["macs"] > metrics["assistants"][1]["macs"]
    assert [line.split()[0] for line in result.lines()] == [
        *("teacher", "assistant", "assistant", "distilled")
    ]
    histories = [one.head.name for one in training_history.of_run(tmp_path)]
    assert histories[:3] == ["teacher", "assistant 1", "assistant 2"]
    # The student's answers are those of the last one: three networks have been asked.
    assert len(list((tmp_path / "teacher").iterdir())) == 3
    again = distill(several(temperature=4.0), tmp_path)
    assert [path.stat().st_mtime_ns for path in paths] == times
    assert again.accuracies("distilled") == result.accuracies("distilled")


def test_the_student_learns_from_the_last_of_them(tmp_path: Path) -> None:
    seen = []

    class Task(ClassificationTask):
        def distillation(self, student, teacher, folder, team):
            seen.append(checkpoint.fingerprint(teacher.state_dict()))
            assert not teacher.training
            return super().distillation(student, teacher, folder, team)

    distill(several(), tmp_path, task=Task(several()))
    files = [tmp_path / name for name in ("teacher.pt", "assistant-1.pt", "assistant-2.pt")]
    assert seen == [checkpoint.fingerprint(checkpoint.load(path).state) for path in files]


def test_features_and_curricula_are_those_of_the_student_alone(tmp_path: Path) -> None:
    feature = {"loss": "hint", "student": "nowhere", "teacher": "nowhere"}
    cfg = several(features=[feature], curriculum="root")
    made = Assistants(cfg, ClassificationTask(cfg), tmp_path, ALONE, None, 5.0)
    teacher = made.task.build("mlp", made.task.arguments("mlp", {}), "teacher", 0)
    assert made.check(teacher) is not teacher
    with pytest.raises(InputError, match='there is no module "nowhere"'):
        made.task.check_distillation(made.build(1), teacher)
    network, seconds = made.train(0, teacher.eval().requires_grad_(False))
    assert seconds > 0
    assert not any(weight.requires_grad for weight in network.parameters())
    assert torch.isfinite(network(torch.zeros(1, 1, 8, 8))).all()


def test_a_mistake_shows_before_the_teacher_is_trained(tmp_path: Path) -> None:
    cfg = small(teacher={**SECTIONS["teacher"], "assistants": [{"model": "mpl"}]})
    with pytest.raises(InputError, match='did you mean "mlp"'):
        distill(cfg, tmp_path)
    assert not (tmp_path / "teacher.pt").exists()
