"""The loss of a network with early exits."""

from __future__ import annotations

from torch import Tensor, nn

from tvmkd.distill import loss_parts
from tvmkd.distill.losses import KD
from tvmkd.distill.task import Batch, Loss
from tvmkd.models.early_exit import EarlyExitNet


class ExitLoss(nn.Module):
    """The loss of the last exit, and for each branch the labels and what the last exit says.

    The last exit teaches the branches and is not taught by them (self-distillation: Zhang et al.,
    "Be Your Own Teacher", 2019). The loss of the last exit may have a teacher of its own.

    Args:
        network: whose branches they are; it has just been called where this is.
        last: loss of the last exit.
        weight: of each branch, against 1 of the last exit.
        alpha: in a branch, the weight of the labels; ``1 - alpha`` is the last exit's.
        temperature: of the softmax that branches and last exit are compared with.
    """

    def __init__(
        self, network: EarlyExitNet, last: Loss, weight: float, alpha: float, temperature: float
    ) -> None:
        super().__init__()
        self.last = last
        self._network = [network]  # in a list: its weights are not this module's
        self._weight, self._kd = weight, KD(alpha, temperature)

    def forward(self, batch: Batch, logits: Tensor) -> Tensor:
        """The last exit's logits ``[N, classes]``, just computed, to a scalar."""
        total = self.last(batch, logits)
        for branch in self._network[0].branch_logits:
            with loss_parts.hidden():
                part = self._weight * self._kd(branch, logits.detach(), batch.labels)
            total = total + loss_parts.note("exits", part)
        return total

    def close(self) -> None:
        """Takes the hooks of the last exit's loss off its networks."""
        if hasattr(self.last, "close"):
            self.last.close()
