"""Hard-sample mining: more weight where the teacher is sure and the student is far from it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor

from tvmkd.distill.distributed import average


def weights(student: Tensor, teacher: Tensor, strength: float) -> Tensor:
    """A weight for each image, 1 in the mean: ``1 + strength · peak · distance``, normalised.

    ``peak`` is 1 minus the teacher's entropy divided by its maximum; ``distance`` is the total
    variation distance of the two distributions; both are 0 to 1. An image on which the teacher is
    unsure is not hard but ambiguous: its weight does not grow.

    Args:
        student, teacher: logits ``[N, classes]``; no gradient flows through the weights.
        strength: at least 0; 0 weighs all images alike.
    """
    with torch.no_grad():
        mine, logs = F.softmax(student.float(), 1), F.log_softmax(teacher.float(), 1)
        other = logs.exp()
        peak = 1 + (other * logs).sum(1) / math.log(other.shape[1])
        distance = (mine - other).abs().sum(1) / 2
        raw = 1 + strength * peak * distance
        return raw / average(raw.mean())
