"""Which images of a batch count for more: where the teacher is sure and the student is far."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor


def weights(student: Tensor, teacher: Tensor, strength: float) -> Tensor:
    """A weight for each image, 1 in the mean: ``1 + strength · peak · distance``, normalised.

    ``peak`` is one less the teacher's entropy over the largest there can be, ``distance`` the total
    variation of the two answers, each 0 to 1. An image on which the teacher is unsure is not hard
    but unclear, and gains nothing.

    Args:
        student, teacher: logits ``[N, classes]``; no gradient flows through the weights.
        strength: at least 0, which weighs all alike.
    """
    with torch.no_grad():
        mine, logs = F.softmax(student.float(), 1), F.log_softmax(teacher.float(), 1)
        other = logs.exp()
        peak = 1 + (other * logs).sum(1) / math.log(other.shape[1])
        distance = (mine - other).abs().sum(1) / 2
        raw = 1 + strength * peak * distance
        return raw / raw.mean()
