"""Normalised knowledge distillation: the true class as a soft label, the others normalised."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - what torch users call it
from pydantic.dataclasses import dataclass
from torch import Tensor

from tvmkd.config.fields import Fraction, NotNegative, Positive
from tvmkd.distill.logit_losses.base import SoftLoss, others, register


@register("nkd")
@dataclass(frozen=True)
class NKD(SoftLoss):
    """``alpha · CE + (1 - alpha) · (target + gamma · T² · non_target)``.

    With the true class ``t``: ``target = -q_t · log p_t``, where ``p`` and ``q`` are the softmaxes
    of student and teacher without a temperature, and ``non_target = -sum over i of Q_i · log P_i``,
    where ``P`` and ``Q`` are those at T of the other classes alone: each adds up to 1 ("From
    Knowledge Distillation to Self-Knowledge Distillation", Yang et al., ICCV 2023). In the paper
    the weight of CE is 1, that of the rest too: here alpha 0.5.

    It is not 0 where the student answers as its teacher does: cross entropies, not divergences.

    Attributes:
        alpha: weight of the labels.
        temperature: T of the other classes.
        gamma: weight of the other classes.
    """

    alpha: Fraction = 0.5
    temperature: Positive = 1.0
    gamma: NotNegative = 1.5

    def soft(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """As `SoftLoss.soft`."""
        true, heat = labels[:, None], self.temperature
        sure = F.softmax(teacher, dim=1).gather(1, true)[:, 0]
        target = -sure * F.log_softmax(student, dim=1).gather(1, true)[:, 0]
        mine = F.log_softmax(others(student, labels) / heat, dim=1)
        other = F.softmax(others(teacher, labels) / heat, dim=1)
        return target - self.gamma * heat**2 * (other * mine).sum(1)
