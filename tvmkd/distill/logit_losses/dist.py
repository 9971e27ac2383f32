"""DIST: correlations instead of probabilities, which a strong teacher's student can match."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - what torch users call it
from pydantic.dataclasses import dataclass
from torch import Tensor

from tvmkd.config.fields import Fraction, NotNegative, Positive
from tvmkd.distill.logit_losses.base import SoftLoss, register


@register("dist")
@dataclass(frozen=True)
class DIST(SoftLoss):
    """``alpha · CE + (1 - alpha) · T² · (beta · inter + gamma · intra)``.

    With ``P = softmax(student/T)``, ``Q = softmax(teacher/T)``, both ``[N, classes]``, and
    Pearson's correlation ``r``: ``inter = 1 - r(P[i], Q[i])``, the relation between the classes of
    an image; ``intra = mean over j of 1 - r(P[:, j], Q[:, j])``, that between the images in a
    class. "Knowledge Distillation from A Stronger Teacher" (Huang et al., NeurIPS 2022), whose
    weights are 1 for CE and 2 for each relation: here alpha 0.5 and 2, as their proportions are
    what counts.

    Correlation with a constant is 0: in a batch of one image, ``intra`` is 1 and has no gradient.

    Attributes:
        alpha: weight of the labels.
        beta: weight of the relation between classes.
        temperature: T of both softmaxes: 1 on ImageNet, 4 on CIFAR-100.
        gamma: weight of the relation between images.
    """

    whole_batch = True

    alpha: Fraction = 0.5
    beta: NotNegative = 2.0
    temperature: Positive = 1.0
    gamma: NotNegative = 2.0

    def soft(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """As `SoftLoss.soft`."""
        del labels
        heat = self.temperature
        mine, other = F.softmax(student / heat, dim=1), F.softmax(teacher / heat, dim=1)
        inter = 1 - _correlation(mine, other, 1)
        intra = (1 - _correlation(mine, other, 0)).mean()
        return heat**2 * (self.beta * inter + self.gamma * intra)


def _correlation(first: Tensor, second: Tensor, axis: int) -> Tensor:
    """Pearson's, along an axis; 0 where one side does not vary."""
    first, second = (each - each.mean(axis, keepdim=True) for each in (first, second))
    return F.cosine_similarity(first, second, dim=axis)
