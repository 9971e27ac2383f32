from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.config import Distill
from tvmkd.distill import loss_parts, losses, mining
from tvmkd.distill.distillation_loss import Distillation, attends, check
from tvmkd.distill.task import Batch

SHAPE = (1, 1, 8, 8)


def network(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.Flatten(),
        nn.Linear(64 * width, 5),
    )


@pytest.fixture
def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return network(3), network(6).eval().requires_grad_(False)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 1, 8, 8, generator=generator)
    return Batch(images, torch.tensor([0, 1, 2, 3]), torch.tensor([5, 2, 9, 0]), 0.0)


def make(pair: tuple[nn.Module, nn.Module], answers: Any = None, **cfg: Any) -> Distillation:
    asked = None if answers is None else lambda batch: answers[batch.indices]
    return Distillation(Distill.model_validate(cfg), *pair, SHAPE, asked)


HINT = {"loss": "hint", "student": "0", "teacher": "0"}


@pytest.mark.parametrize("loss", ["kd", "dkd"])
def test_without_more_it_is_the_loss_on_the_logits(pair, batch, loss: str) -> None:
    student, teacher = pair
    logits = student(batch.images)
    found = make(pair, loss=loss, alpha=0.3, temperature=2.0, beta=3.0)(batch, logits)
    made = losses.KD(0.3, 2.0) if loss == "kd" else losses.DKD(0.3, 3.0, 2.0)
    wanted = made(logits, teacher(batch.images), batch.labels)
    torch.testing.assert_close(found, wanted)


def test_cached_answers_stand_in_for_the_teacher(pair, batch) -> None:
    student, _ = pair
    answers = torch.randn(10, 5)
    logits = student(batch.images)
    found = make(pair, answers, loss="kd")(batch, logits)
    wanted = losses.KD(0.1, 4.0)(logits, answers[batch.indices], batch.labels)
    torch.testing.assert_close(found, wanted)


def test_where_features_are_compared_the_teacher_runs_and_kept_answers_are_unused(
    pair, batch
) -> None:
    plain, given = make(pair, features=[HINT]), make(pair, torch.randn(10, 5), features=[HINT])
    given.load_state_dict(plain.state_dict())
    logits = pair[0](batch.images)
    torch.testing.assert_close(given(batch, logits), plain(batch, logits))


def test_terms_add_up_with_their_weights_and_schedules(pair, batch) -> None:
    student, teacher = pair
    terms = [
        {**HINT, "weight": 2.0, "schedule": "decay"},
        {"loss": "contrastive", "student": "1", "teacher": "1", "weight": 0.5},
    ]
    plain, objective = make(pair), make(pair, features=terms)
    hint, contrast = objective.terms
    for progress, factor in ((0.0, 2.0), (0.5, 1.0), (1.0, 0.0)):
        now = Batch(batch.images, batch.labels, batch.indices, progress)
        logits = student(now.images)
        mine, other = student[0](now.images), teacher[0](now.images)
        wanted = plain(now, logits) + factor * hint(mine, other)
        wanted = wanted + 0.5 * contrast(student[1](mine), teacher[1](other))
        logits = student(now.images)
        torch.testing.assert_close(objective(now, logits), wanted, rtol=1e-4, atol=1e-4)


def test_more_losses_on_logits_add_up_with_their_weights_and_schedules(pair, batch) -> None:
    student, teacher = pair
    entries = [
        {"loss": "dist", "weight": 2.0, "schedule": "decay"},
        {"loss": "kd", "args": {"temperature": 1.0}, "weight": 0.5, "schedule": "ramp"},
    ]
    plain, both = make(pair, loss="nkd"), make(pair, loss="nkd", logits=entries)
    logits, soft = student(batch.images), teacher(batch.images)
    dist = losses.DIST(alpha=0.0)(logits, soft, batch.labels)
    kd = losses.KD(0.0, 1.0)(logits, soft, batch.labels)
    for progress, (first, second) in {0.0: (2.0, 0.0), 0.5: (1.0, 0.5), 1.0: (0.0, 0.5)}.items():
        now = Batch(batch.images, batch.labels, batch.indices, progress)
        wanted = plain(now, logits) + first * dist + second * kd
        torch.testing.assert_close(both(now, logits), wanted)


def test_the_labels_part_and_the_teachers_add_up(pair, batch) -> None:
    loss = make(pair, loss="kd", alpha=0.3, features=[HINT], logits=[{"loss": "nkd"}])
    logits = pair[0](batch.images)
    assert loss.divided
    hard, taught = loss.parts(batch, logits)
    torch.testing.assert_close(hard, 0.3 * torch.nn.functional.cross_entropy(logits, batch.labels))
    torch.testing.assert_close(hard + taught, loss(batch, logits))


def test_hints_reach_the_student_and_their_own_weights_but_not_the_teacher(pair, batch) -> None:
    student, teacher = pair
    objective = make(pair, features=[HINT])
    objective(batch, student(batch.images)).backward()
    assert all(weight.grad is not None for weight in student.parameters())
    assert all(weight.grad is not None for weight in objective.parameters())
    assert all(weight.grad is None for weight in teacher.parameters())
    own = {id(weight) for weight in objective.parameters()}
    assert not own & {id(weight) for network in pair for weight in network.parameters()}


def test_hard_images_weigh_more(pair, batch) -> None:
    student, teacher = pair
    logits = student(batch.images)
    soft = teacher(batch.images)
    found = make(pair, loss="kd", hard_mining=3.0)(batch, logits)
    weights = mining.weights(logits, soft, 3.0)
    wanted = losses.KD(0.1, 4.0)(logits, soft, batch.labels, weights=weights)
    torch.testing.assert_close(found, wanted)
    assert not torch.isclose(found, make(pair, loss="kd")(batch, logits))


def test_networks_are_left_as_they_were(pair) -> None:
    student, teacher = pair
    before = {name: value.clone() for name, value in student.state_dict().items()}
    objective = make(pair, features=[HINT])
    assert student.training
    assert not teacher.training
    torch.testing.assert_close(student.state_dict(), before)
    objective.close()
    assert not student[0]._forward_hooks
    assert not teacher[0]._forward_hooks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": "9"}, 'student: there is no module "9"'),
        ({"teacher": "layer"}, 'teacher: there is no module "layer"'),
        ({"student": "3"}, "same number of axes"),
    ],
)
def test_a_path_that_does_not_exist_or_fit_is_refused(pair, change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(pair, features=[{**HINT, **change}])


def look(pair: tuple[nn.Module, nn.Module], features: list[dict[str, Any]]) -> None:
    check(Distill.model_validate({"features": features}), *pair, SHAPE)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(64, 5)

    def forward(self, images):
        tokens = images.squeeze(1)
        return self.head(self.inner(tokens, tokens, tokens)[0].flatten(1))


def test_hints_across_families_are_warned_of(pair, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    mixed = (network(3), Attending())
    assert attends(mixed[1])
    assert not attends(mixed[0])
    with pytest.raises(InputError, match="same number of axes"):
        look(mixed, [{**HINT, "teacher": "inner"}])
    assert "Hao et al., 2023" in capsys.readouterr().err
    look(mixed, [{"loss": "contrastive", "student": "0", "teacher": "inner"}])
    look(pair, [HINT])
    assert not pair[0][0]._forward_hooks
    assert "Hao" not in capsys.readouterr().err


def test_a_class_named_attention_attends() -> None:
    class OwnAttention(nn.Module):
        pass

    assert attends(nn.Sequential(nn.Linear(2, 2), OwnAttention()))


@pytest.mark.parametrize(
    "cfg", [{"loss": "kd"}, {"loss": "dkd", "standardize": True}, {"loss": "dist"}]
)
def test_a_temperature_that_leaves_one_class_is_warned_of(pair, capsys, cfg) -> None:
    check(Distill.model_validate({**cfg, "temperature": 0.05}), *pair, SHAPE)
    assert "temperature 0.05 leaves one class" in capsys.readouterr().err
    check(Distill.model_validate({**cfg, "loss_args": {"temperature": 0.1}}), *pair, SHAPE)
    assert "temperature 0.1 leaves one class" in capsys.readouterr().err
    check(Distill.model_validate(cfg), *pair, SHAPE)
    for loss in ("mlkd", "mse"):
        check(Distill(loss=loss, temperature=0.05), *pair, SHAPE)
    assert "temperature" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "cfg",
    [
        {"loss": "loss_with_weights:Weighted"},
        {"loss": "loss_with_weights:Weighted", "standardize": True},
        {"loss": "kd", "logits": [{"loss": "loss_with_weights:Weighted"}]},
        {"loss": "kd", "logits": [{"loss": "loss_with_weights:Weighted", "standardize": True}]},
    ],
)
def test_a_losss_own_weights_are_trained_however_it_is_used(pair, batch, tmp_path, cfg) -> None:
    (tmp_path / "loss_with_weights.py").write_text(
        "import torch\nfrom torch import nn\nfrom tvmkd.distill.losses import SoftLoss\n\n"
        "class Weighted(SoftLoss, nn.Module):\n"
        "    def __init__(self):\n"
        "        nn.Module.__init__(self)\n"
        "        self.alpha, self.scale = 0.5, nn.Parameter(torch.ones(1))\n\n"
        "    def soft(self, student, teacher, labels):\n"
        "        return (self.scale * student - teacher).square().mean(1)\n"
    )
    loss = Distillation(Distill.model_validate(cfg), *pair, SHAPE, search_in=[tmp_path])
    (weight,) = loss.parameters()
    loss(batch, pair[0](batch.images)).backward()
    assert weight.grad is not None
    assert float(weight.grad.abs()) > 0


def test_each_loss_is_one_part_whatever_it_is_made_of(pair, batch, tmp_path) -> None:
    (tmp_path / "composed_loss.py").write_text(
        "from tvmkd.distill.losses import KD\n\n"
        "def loss(student, teacher, labels):\n    return 0.5 * KD()(student, teacher, labels)\n"
    )
    entries = [{"loss": "composed_loss:loss"}, {"loss": "mse", "weight": 0.5}]
    cfg = Distill.model_validate({"loss": "kd", "features": [HINT], "logits": entries})
    loss = Distillation(cfg, *pair, SHAPE, search_in=[tmp_path])
    logits = pair[0](batch.images)
    names = ["labels", "logits", "composed_loss:loss logits", "mse logits", "hint 0"]
    for whole in (loss, lambda *given: sum(loss.parts(*given))):
        with loss_parts.collected() as noted:
            total = whole(batch, logits)
        parts = noted.means(1)
        assert list(parts) == names
        assert sum(parts.values()) == pytest.approx(float(total.detach()), rel=1e-5)
