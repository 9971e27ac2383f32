"""Squared error of logits: the teacher's answers as they are, without a softmax."""

from __future__ import annotations

from pydantic.dataclasses import dataclass
from torch import Tensor

from tvmkd.config.fields import Fraction
from tvmkd.distill.logit_losses.base import SoftLoss, register


@register("mse")
@dataclass(frozen=True)
class MSE(SoftLoss):
    """``alpha · CE + (1 - alpha) · mean over classes of (student - teacher)²``.

    "Do Deep Nets Really Need to be Deep?" (Ba and Caruana, NeurIPS 2014). `KD` approaches it as its
    temperature grows, but does not see a constant that is added to all logits of an image: here the
    student learns that, too ("Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in
    Knowledge Distillation", Kim et al., IJCAI 2021, where its students are the better ones).

    Attributes:
        alpha: weight of the labels.
    """

    alpha: Fraction = 0.1

    def soft(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """As `SoftLoss.soft`."""
        del labels
        return (student - teacher).square().mean(1)
