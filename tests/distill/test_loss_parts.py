from __future__ import annotations

import pytest
import torch

from tvmkd.distill import losses
from tvmkd.distill.exit_loss import ExitLoss
from tvmkd.distill.loss_parts import FOLD, collected, hidden, note, wanted, with_rest
from tvmkd.distill.losses import DKD, KD
from tvmkd.distill.task import Batch
from tvmkd.models.early_exit import EarlyExitNet


def test_noting_changes_nothing_and_is_heard_where_somebody_collects() -> None:
    value = torch.tensor(2.0, requires_grad=True) * 1
    assert note("a", value) is value
    assert not wanted()
    with collected() as parts:
        assert wanted()
        note("a", value)
        with hidden():
            note("a", value)
            assert not wanted()
    assert parts.means(1) == {"a": 2.0}
    assert not wanted()


def test_means_are_over_steps_whatever_is_noted_in_them() -> None:
    """By hand: 1 + 2 + … of 2 · FOLD + 3 steps, folded twice; one part in a single step."""
    steps = 2 * FOLD + 3
    with collected() as parts:
        for step in range(steps):
            note("scalar", torch.tensor(float(step)))
            note("each image", torch.tensor([step, step + 2.0]), 0.5)
        note("rare", torch.tensor(6.0))
        note("rare", torch.tensor([6.0, 12.0]))
    found = parts.means(steps)
    assert found["scalar"] == pytest.approx((steps - 1) / 2)
    assert found["each image"] == pytest.approx(0.5 * ((steps - 1) / 2 + 1))
    assert found["rare"] == pytest.approx((6 + 9) / steps)


def test_what_nobody_noted_is_the_rest_unless_it_is_rounding() -> None:
    assert with_rest({"a": 1.0, "b": 2.0}, 3.5) == {"a": 1.0, "b": 2.0, "other": 0.5}
    assert with_rest({"a": 1.0, "b": 2.0}, 3.0 + 1e-6) == {"a": 1.0, "b": 2.0}
    assert with_rest({}, 3.0) == {}


@pytest.mark.parametrize("loss", [KD(0.1, 4.0), DKD(0.1, 8.0, 4.0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_parts_of_logit_losses_add_up(loss: losses.LogitLoss, weighted: bool) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    labels = torch.randint(5, (6,))
    more = {"weights": torch.rand(6)} if weighted else {}
    silent = loss(student, teacher, labels, **more)
    with collected() as parts:
        total = loss(student, teacher, labels, **more)
    assert torch.equal(silent, total)
    found = parts.means(1)
    assert sum(found.values()) == pytest.approx(float(total), rel=1e-5)
    assert list(found) == ["labels", "logits"]
    assert all(found.values())


def test_exits_are_one_part() -> None:
    torch.manual_seed(0)
    args = {"stem": 8, "blocks": [[8, 1], [16, 2]], "classes": 3, "channels": 1}
    network = EarlyExitNet("depthwise", args, ["features.1"], 3, (1, 1, 16, 16)).train()
    batch = Batch(torch.randn(4, 1, 16, 16), torch.tensor([0, 1, 2, 0]), torch.arange(4), 0.0)
    loss = ExitLoss(network, losses.cross_entropy, 0.5, 0.1, 4.0)
    with collected() as parts:
        total = loss(batch, network(batch.images))
    found = parts.means(1)
    assert sorted(found) == ["exits", "labels"]
    assert sum(found.values()) == pytest.approx(float(total.detach()), rel=1e-5)
