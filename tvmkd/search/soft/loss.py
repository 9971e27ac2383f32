"""The loss that shapes a network: the task's, and the expected latency."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tvmkd.distill import loss_parts
from tvmkd.distill.task import Batch, Loss
from tvmkd.search.soft.differences import Expected
from tvmkd.search.soft.gates import Gates


class ShapingLoss(nn.Module):
    """``inner + weight * expected latency / latency of the whole network``.

    Args:
        inner: the task's loss; its own weights are trained, too.
        gates: of the network; their logits are this loss's weights.
        expected: the expected latency, as a share of the whole.
        weight: λ.
    """

    def __init__(self, inner: Loss, gates: Gates, expected: Expected, weight: float) -> None:
        super().__init__()
        self.gates, self.expected, self.weight = gates, expected, weight
        self.inner = inner

    def forward(self, batch: Batch, output: Any) -> Tensor:
        """The loss of a step; ends it for the gates."""
        loss: Tensor = self.inner(batch, output)
        share = self.expected(self.gates.probabilities()).to(loss.dtype)
        self.gates.step(batch.progress)
        whole: Tensor = loss + loss_parts.note("latency", self.weight * share)
        return whole

    def close(self) -> None:
        """Takes the hooks off, and closes the task's loss."""
        self.gates.close()
        close = getattr(self.inner, "close", None)
        if close is not None:
            close()
