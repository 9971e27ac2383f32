from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tvmkd.base.errors import InputError
from tvmkd.config import Distill
from tvmkd.config.losses import LOSSES
from tvmkd.config.sections import Logits
from tvmkd.distill import losses
from tvmkd.distill.task import Batch


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(6, 5, requires_grad=True), torch.randn(6, 5), torch.randint(5, (6,))


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


CODE = """
import torch

from tvmkd.distill.losses import SoftLoss

def plain(student, teacher, labels, temperature, power=2.0):
    return ((student - teacher) / temperature).abs().pow(power).mean()

class Soft(SoftLoss):
    alpha = 0.25

    def soft(self, student, teacher, labels):
        return (student - teacher).square().mean(1)

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
        ({"loss": "dist", "loss_args": {"gama": 1}}, 'no argument "gama"; did you mean "gamma"'),
        ({"loss": "kd", "loss_args": {"sharp": 1}}, 'no argument "sharp"; known: alpha, temp'),
        ({"loss": "nkd", "loss_args": {"gamma": "much"}}, "gamma: .*valid number.*'much'"),
        ({"loss": "mlkd", "loss_args": {"temperatures": [4, 0]}}, "temperatures.1: .*greater"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused_at_once(code, section, message):
    with pytest.raises(InputError, match=rf'\[distill\] loss "{section["loss"]}": .*{message}'):
        made(code, **section)


def test_the_config_knows_the_registered_losses():
    assert {*losses.REGISTERED, "ce"} == set(LOSSES)
    cfg = Distill(loss="dkd", alpha=0.2, beta=3.0, temperature=5.0)
    assert losses.make(cfg) == losses.DKD(0.2, 3.0, 5.0)


def test_each_loss_has_its_papers_values_where_the_section_says_nothing() -> None:
    for name, kind in losses.REGISTERED.items():
        assert losses.make(Distill(loss=name)) == kind()
    assert losses.make(Distill(loss="dist", beta=8.0)) == losses.DIST(beta=8.0)
    changed = Distill(loss="mlkd", loss_args={"temperatures": [1, 2]})
    assert losses.make(changed) == losses.MLKD(temperatures=(1.0, 2.0))
    thick = losses.make(Distill(loss="kd", standardize=True))
    assert isinstance(thick, losses.Standardized)
    assert thick.loss == losses.KD(alpha=0.011, temperature=2.0)
    # What was not given is not written as if it had been.
    assert Distill(loss="dist").model_dump(exclude_unset=True) == {"loss": "dist"}


def test_a_users_loss_can_be_standardised_where_it_names_its_soft_part(batch, code):
    student, labels = batch[0].detach(), batch[2]
    loss = made(code, loss="my_logit_losses:Soft", standardize=True)
    hard, soft = loss.parts(student, 3 * student + 1, labels)
    assert float(soft) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(hard, 0.25 * F.cross_entropy(student, labels))
    with pytest.raises(InputError, match=r"my_logit_losses:plain\": standardize is for registered"):
        made(code, loss="my_logit_losses:plain", standardize=True)


def test_a_term_is_a_loss_without_the_labels(batch, code):
    student, teacher, labels = batch

    def term(**entry):
        section = Distill.model_validate({"logits": [entry]})
        return losses.make_term(section.logits[0], [code])

    found = term(loss="kd", args={"temperature": 2.0})(student, teacher, labels)
    torch.testing.assert_close(found, losses.KD(0.0, 2.0)(student, teacher, labels))
    z = term(loss="kd", args={"temperature": 2.0}, standardize=True)
    torch.testing.assert_close(
        z(student, teacher, labels),
        losses.Standardized(losses.KD(0.0, 2.0))(student, teacher, labels),
    )
    own = term(loss="my_logit_losses:plain", args={"temperature": 1.0})
    torch.testing.assert_close(
        own(student, teacher, labels), (student - teacher).abs().square().mean()
    )


def test_a_standardised_term_has_the_papers_base_temperature():
    made = losses.make_term(Logits(loss="kd", standardize=True))
    assert losses.inner(made).temperature == 2.0
    assert losses.inner(losses.make_term(Logits(loss="kd"))).temperature == 4.0


def test_hard_mining_needs_a_loss_that_takes_weights(code):
    mined = {"hard_mining": 1.0, "loss_args": {"temperature": 1.0}}
    with pytest.raises(InputError, match=r"plain.*has no argument weights, which hard_mining"):
        losses.make(Distill(loss="my_logit_losses:plain", **mined), [code])
    term = Logits(loss="my_logit_losses:plain", args={"temperature": 1.0})
    with pytest.raises(InputError, match=r"logits .*has no argument weights"):
        losses.make_term(term, [code], mined=True)
    for name in ("kd", "dkd", "dist", "mlkd", "nkd", "mse"):
        losses.make(Distill(loss=name, hard_mining=1.0))
        losses.make_term(Logits(loss=name), mined=True)


def test_the_identity_of_a_users_loss_has_its_code(code):
    section = Distill(loss="my_logit_losses:plain")
    before = losses.identity(section, [code])
    (code / "my_logit_losses.py").write_text(CODE + "# changed")
    assert losses.identity(section, [code]) != before


def test_the_identity_is_of_what_the_loss_depends_on(code):
    plain = losses.identity(Distill())
    assert not {"code", "codes", "loss_args", "standardize", "logits"} & set(plain)
    elsewhere = {"epochs": 3, "lr": 0.1, "weight_decay": 0.0, "seeds": [7], "baseline": False}
    elsewhere |= {"watch": "8ms", "watch_every": 3, "latency": "mine:ms", "latency_weight": 1.0}
    elsewhere |= {"curriculum_start": 0.5, "curriculum_full_at": 0.5}  # there is none
    for name, value in {**elsewhere, "ema": 0.9}.items():
        assert losses.identity(Distill.model_validate({name: value})) == plain
    changes = {"loss": "dkd", "alpha": 0.5, "temperature": 2.0, "beta": 1.0, "hard_mining": 1.0}
    changes |= {"curriculum": "root"}
    changes |= {"features": [{"loss": "hint", "student": "0", "teacher": "0"}]}
    changes |= {"standardize": True, "logits": [{"loss": "nkd"}]}
    for name, value in changes.items():
        assert losses.identity(Distill.model_validate({name: value})) != plain
    slow = losses.identity(Distill(curriculum="root"))
    assert losses.identity(Distill(curriculum="root", curriculum_start=0.5)) != slow
    mine = Distill(loss="my_logit_losses:plain", loss_args={"power": 1.0})
    assert losses.identity(mine, [code])["loss_args"] == {"power": 1.0}


def test_the_loss_on_labels_alone_is_computed_in_fp32():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]], dtype=torch.float16)
    batch = Batch(torch.empty(2), torch.tensor([0, 1]), torch.arange(2), 0.0)
    found = losses.cross_entropy(batch, logits)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx((math.log(1 + math.exp(-2)) + math.log(2)) / 2)
