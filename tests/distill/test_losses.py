from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tvmkd.base.errors import InputError
from tvmkd.config import Distill
from tvmkd.config.sections import LOSSES
from tvmkd.distill import losses
from tvmkd.distill.task import Batch


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(6, 5, requires_grad=True), torch.randn(6, 5), torch.randint(5, (6,))


def test_kd_is_hintons_formula(batch):
    student, teacher, labels = batch
    found = losses.KD(0.3, 2.0)(student, teacher, labels)
    p = torch.softmax(teacher / 2, 1)
    kl = (p * (p.log() - torch.softmax(student / 2, 1).log())).sum(1).mean()
    hard = -torch.log_softmax(student, 1)[torch.arange(6), labels].mean()
    torch.testing.assert_close(found, 0.3 * hard + 0.7 * 4 * kl)


def test_kd_with_alpha_one_is_the_labels_alone(batch):
    student, teacher, labels = batch
    found = losses.KD(1.0, 4.0)(student, teacher, labels)
    torch.testing.assert_close(found, F.cross_entropy(student, labels))


def test_dkd_parts_add_up_to_kd(batch):
    """KL = TCKD + (1 - p_true) · NCKD: with one image, beta = 1 - p_true gives kd."""
    student, teacher, labels = (part[:1] for part in batch)
    hot = 1 - torch.softmax(teacher / 3, 1)[0, labels[0]].item()
    by_parts = losses.DKD(0.2, hot, 3.0)(student, teacher, labels)
    whole = losses.KD(0.2, 3.0)(student, teacher, labels)
    torch.testing.assert_close(by_parts, whole)


@pytest.mark.parametrize("scale", [1.0, 50.0, 500.0])
def test_gradients_are_finite_for_sure_teachers(batch, scale):
    student, teacher, labels = batch
    for loss in (
        losses.KD(0.1, 4.0)(student * scale, teacher * scale, labels),
        losses.DKD(0.1, 8.0, 4.0)(student * scale, teacher * scale, labels),
    ):
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_a_student_that_answers_as_its_teacher_costs_nothing_soft(batch):
    _, teacher, labels = batch
    for soft in (
        losses.KD(0.0, 4.0)(teacher, teacher, labels),
        losses.DKD(0.0, 8.0, 4.0)(teacher, teacher, labels),
    ):
        assert abs(float(soft)) < 1e-5


@pytest.mark.parametrize("loss", [losses.KD(0.3, 2.0), losses.DKD(0.3, 2.0, 2.0)])
def test_weights_choose_among_the_images(batch, loss):
    student, teacher, labels = batch
    weights = torch.tensor([6.0, 0, 0, 0, 0, 0])
    alone = loss(student[:1], teacher[:1], labels[:1])
    torch.testing.assert_close(loss(student, teacher, labels, weights=weights), alone)
    even = loss(student, teacher, labels, weights=torch.ones(6))
    torch.testing.assert_close(even, loss(student, teacher, labels))


def test_imitating_costs_nothing_if_the_answers_are_the_same_and_teaches_one_side(batch):
    logits, teacher, _ = batch
    logits = logits.detach().requires_grad_()
    other = teacher.detach().requires_grad_()
    assert float(losses.imitation(other, other).detach()) == pytest.approx(0, abs=1e-6)
    found = losses.imitation(logits, other)
    both = (torch.log_softmax(each, 1) for each in (logits, other))
    mine, theirs = both
    expected = (theirs.exp() * (theirs - mine)).sum(1).mean()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    found.backward()
    assert logits.grad is not None
    assert other.grad is None


def test_kd_by_hand():
    """T = 2: softmaxes of (0, 0) and (1, 0); the labels with a weight of 0.25."""
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    p = 1 / (1 + math.exp(-1.0))
    kl = p * math.log(p) + (1 - p) * math.log(1 - p) + math.log(2)
    found = losses.KD(0.25, 2.0)(student, teacher, torch.tensor([0]))
    assert float(found) == pytest.approx(0.25 * math.log(2) + 0.75 * 4 * kl, rel=1e-4)


def test_dkd_by_hand():
    """Three classes: TCKD of the true class against the rest, NCKD between the other two."""
    student, teacher = torch.zeros(1, 3), torch.tensor([[2.0, 2.0, 0.0]])
    total = 2 * math.e + 1  # of the teacher's softmax at T = 2
    true = math.e / total
    tckd = true * math.log(true * 3) + (1 - true) * math.log((1 - true) * 3 / 2)
    one = math.e / (math.e + 1)
    nckd = one * math.log(one * 2) + (1 - one) * math.log((1 - one) * 2)
    found = losses.DKD(0.25, 3.0, 2.0)(student, teacher, torch.tensor([0]))
    wanted = 0.25 * math.log(3) + 0.75 * 4 * (tckd + 3 * nckd)
    assert float(found) == pytest.approx(wanted, rel=1e-4)


CODE = """
import torch

def plain(student, teacher, labels, temperature, power=2.0):
    return ((student - teacher) / temperature).abs().pow(power).mean()

class Weighted(torch.nn.Module):
    def __init__(self, alpha):
        super().__init__()
        self.alpha, self.scale = alpha, torch.nn.Parameter(torch.ones(()))

    def forward(self, student, teacher, labels):
        return self.alpha * self.scale * (student - teacher).square().mean()

def short(student):
    return student
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "my_logit_losses.py").write_text(CODE)
    return tmp_path


def made(code, **section):
    return losses.make(Distill.model_validate(section), [code])


def test_a_users_loss_is_a_function_or_a_class(batch, code):
    student, teacher, labels = batch
    plain = made(code, loss="my_logit_losses:plain", temperature=2.0, loss_args={"power": 1.0})
    torch.testing.assert_close(
        plain(student, teacher, labels), ((student - teacher) / 2).abs().mean()
    )
    weighted = made(code, loss="my_logit_losses:Weighted", alpha=0.5)
    found = weighted(student, teacher, labels)
    torch.testing.assert_close(found, 0.5 * (student - teacher).square().mean())
    assert [name for name, _ in weighted.named_parameters()] == ["scale"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"loss": "my_logit_losses:plian"}, 'has no plian; did you mean "plain"'),
        ({"loss": "my_logit_losses:plain", "loss_args": {"x": 1}}, "incorrect arguments"),
        ({"loss": "my_logit_losses:short"}, "too many positional arguments"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused_at_once(code, section, message):
    with pytest.raises(InputError, match=rf'\[distill\] loss "{section["loss"]}": .*{message}'):
        made(code, **section)


def test_the_config_knows_the_registered_losses():
    assert {*losses.REGISTERED, "ce"} == set(LOSSES)
    cfg = Distill(loss="dkd", alpha=0.2, beta=3.0, temperature=5.0)
    assert losses.make(cfg) == losses.DKD(0.2, 3.0, 5.0)


def test_the_identity_of_a_users_loss_has_its_code(code):
    section = Distill(loss="my_logit_losses:plain")
    before = losses.identity(section, [code])
    (code / "my_logit_losses.py").write_text(CODE + "# changed")
    assert losses.identity(section, [code]) != before


def test_the_identity_is_of_what_the_loss_depends_on(code):
    plain = losses.identity(Distill())
    assert not {"code", "loss_args"} & set(plain)
    elsewhere = {"epochs": 3, "lr": 0.1, "weight_decay": 0.0, "seeds": [7], "baseline": False}
    for name, value in {**elsewhere, "ema": 0.9, "latency_weight": 1.0}.items():
        assert losses.identity(Distill.model_validate({name: value})) == plain
    changes = {"loss": "kd", "alpha": 0.5, "temperature": 2.0, "beta": 1.0, "hard_mining": 1.0}
    changes |= {"curriculum": "root", "curriculum_start": 0.5, "curriculum_full_at": 0.5}
    changes |= {"features": [{"loss": "hint", "student": "0", "teacher": "0"}]}
    for name, value in changes.items():
        assert losses.identity(Distill.model_validate({name: value})) != plain
    mine = Distill(loss="my_logit_losses:plain", loss_args={"power": 1.0})
    assert losses.identity(mine, [code])["loss_args"] == {"power": 1.0}


def test_the_loss_on_labels_alone_is_computed_in_fp32():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]], dtype=torch.float16)
    batch = Batch(torch.empty(2), torch.tensor([0, 1]), torch.arange(2), 0.0)
    found = losses.cross_entropy(batch, logits)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx((math.log(1 + math.exp(-2)) + math.log(2)) / 2)
