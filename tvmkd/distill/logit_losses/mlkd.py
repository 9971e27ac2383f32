"""Multi-level logit distillation: images, the batch and the classes, at several temperatures."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F  # noqa: N812 - what torch users call it
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from tvmkd.config.fields import Fraction, Positive
from tvmkd.distill.logit_losses.base import SoftLoss, divergence, register


@register("mlkd")
@dataclass(frozen=True)
class MLKD(SoftLoss):
    """``alpha · CE + (1 - alpha) · sum over T of (instance + batch + class)``.

    With ``P = softmax(student/T)``, ``Q = softmax(teacher/T)``, both ``[N, classes]``:
    ``instance = T² · KL(Q[i] ‖ P[i])``, ``batch = ‖Q Qᵀ - P Pᵀ‖² / N``,
    ``class = ‖Qᵀ Q - Pᵀ P‖² / classes``, with the squared Frobenius norm (Jin et al., "Multi-Level
    Logit Distillation", CVPR 2023).

    The paper adds up this loss over a weak and a strong augmentation of each image. A batch here
    has one view of each: that of ``[data] augment``, which takes the place of both. The masks by
    the teacher's confidence in the authors' code are left out, too.

    Attributes:
        alpha: weight of the labels.
        temperatures: the T's of the sum.
    """

    whole_batch = True

    alpha: Fraction = 0.1
    temperatures: Annotated[tuple[Positive, ...], Field(min_length=1)] = (2.0, 3.0, 4.0, 5.0, 6.0)

    def soft(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """As `SoftLoss.soft`."""
        del labels
        count, classes = student.shape
        total = student.new_zeros(count)
        for heat in self.temperatures:
            mine, other = F.log_softmax(student / heat, dim=1), F.log_softmax(teacher / heat, dim=1)
            p, q = mine.exp(), other.exp()
            batch = (q @ q.T - p @ p.T).square().sum() / count
            by_class = (q.T @ q - p.T @ p).square().sum() / classes
            total = total + heat**2 * divergence(mine, other) + batch + by_class
        return total
