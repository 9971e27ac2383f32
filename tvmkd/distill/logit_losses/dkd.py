"""Decoupled knowledge distillation: the true class and the others, each with its weight."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from pydantic.dataclasses import dataclass
from torch import Tensor

from tvmkd.config.fields import Fraction, NotNegative, Positive
from tvmkd.distill.logit_losses.base import SoftLoss, divergence, others, register


@register("dkd")
@dataclass(frozen=True)
class DKD(SoftLoss):
    """``alpha · CE + (1 - alpha) · T² · (TCKD + beta · NCKD)`` (Zhao et al., CVPR 2022).

    TCKD compares how sure both are of the true class, NCKD how they distribute the rest. In `KD`
    the second is damped by the teacher's certainty; here its weight is ``beta``.

    Attributes:
        alpha: weight of the labels.
        beta: weight of NCKD.
        temperature: T of both softmaxes.
    """

    alpha: Fraction = 0.1
    beta: NotNegative = 8.0
    temperature: Positive = 4.0

    def soft(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """As `SoftLoss.soft`."""
        heat = self.temperature
        (mine, my_rest), (other, other_rest) = (
            _split(logits / heat, labels) for logits in (student, teacher)
        )
        return heat**2 * (divergence(mine, other) + self.beta * divergence(my_rest, other_rest))


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the true class against the rest ``[N, 2]``, and within the rest."""
    rest = others(logits, labels)
    sides = [logits.gather(1, labels[:, None])[:, 0], torch.logsumexp(rest, dim=1)]
    return F.log_softmax(torch.stack(sides, dim=1), dim=1), F.log_softmax(rest, dim=1)
