from __future__ import annotations

import torch

from tvmkd import models
from tvmkd.distill import losses
from tvmkd.distill.exit_loss import ExitLoss
from tvmkd.distill.task import Batch
from tvmkd.models.early_exit import EarlyExitNet

IMAGES = torch.linspace(-1, 1, 4 * 256).view(4, 1, 16, 16)
BATCH = Batch(IMAGES, torch.tensor([0, 1, 2, 3]), torch.arange(4), 0.5)


def network() -> EarlyExitNet:
    torch.manual_seed(0)
    found = models.build(
        "early-exit",
        base="residual",
        args={"widths": [8, 16], "depth": 1},
        exits=["blocks.0"],
        classes=10,
        shape=[1, 1, 16, 16],
    )
    assert isinstance(found, EarlyExitNet)
    return found


def test_it_is_the_last_exits_loss_and_a_share_of_each_branchs() -> None:
    student = network()
    logits = student(IMAGES)
    (branch,) = student.branch_logits
    kd = losses.KD(0.3, 2.0)(branch, logits, BATCH.labels)
    wanted = losses.cross_entropy(BATCH, logits) + 0.5 * kd
    found = ExitLoss(student, losses.cross_entropy, 0.5, 0.3, 2.0)(BATCH, student(IMAGES))
    # A second call in training mode sees other running statistics but the same batch.
    torch.testing.assert_close(found, wanted)


def test_branches_learn_from_the_last_exit_and_do_not_teach_it() -> None:
    student = network()
    ExitLoss(student, lambda batch, logits: logits.sum() * 0, 1.0, 0.0, 2.0)(
        BATCH, student(IMAGES)
    ).backward()
    assert float(student.branches[0].head.weight.grad.abs().sum()) > 0
    assert float(student.base.head.weight.grad.abs().sum()) == 0


def test_the_networks_weights_are_not_the_losss() -> None:
    assert list(ExitLoss(network(), losses.cross_entropy, 1.0, 0.5, 2.0).parameters()) == []


def test_closing_it_closes_the_last_exits_loss_where_that_can_be_closed() -> None:
    class Last:
        closed = 0

        def __call__(self, batch: Batch, logits: torch.Tensor) -> torch.Tensor:
            return logits.sum()

        def close(self) -> None:
            self.closed += 1

    last = Last()
    ExitLoss(network(), last, 1.0, 0.5, 2.0).close()
    assert last.closed == 1
    ExitLoss(network(), losses.cross_entropy, 1.0, 0.5, 2.0).close()
