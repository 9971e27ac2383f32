"""Knowledge distillation as it began: the divergence of softened probabilities."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - what torch users call it
from pydantic.dataclasses import dataclass
from torch import Tensor

from tvmkd.config.fields import Fraction, Positive
from tvmkd.distill.logit_losses.base import SoftLoss, divergence, register


@register("kd")
@dataclass(frozen=True)
class KD(SoftLoss):
    """``alpha · CE + (1 - alpha) · T² · KL(teacher/T ‖ student/T)`` (Hinton et al., 2015).

    Attributes:
        alpha: weight of the labels.
        temperature: T of both softmaxes.
    """

    alpha: Fraction = 0.1
    temperature: Positive = 4.0

    def soft(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """As `SoftLoss.soft`."""
        del labels
        heat = self.temperature
        mine, other = F.log_softmax(student / heat, dim=1), F.log_softmax(teacher / heat, dim=1)
        return heat**2 * divergence(mine, other)
