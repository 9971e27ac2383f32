"""What a student is asked to make small.

Every function takes float logits ``[N, classes]`` (the student's first, where there are two) and
int64 labels ``[N]``, and returns a float32 scalar, averaged over the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From images ``[N, C, H, W]``, logits and labels to a scalar."""

_MASKED = 1000.0  # as good as minus infinity in a softmax, without its NaN


def cross_entropy(images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Labels alone: how teachers and baselines are trained."""
    del images
    return F.cross_entropy(logits.float(), labels)


def kd(
    student: Tensor, teacher: Tensor, labels: Tensor, *, alpha: float, temperature: float
) -> Tensor:
    """``alpha · CE + (1 - alpha) · T² · KL(teacher/T ‖ student/T)`` (Hinton et al., 2015)."""
    soft = F.kl_div(
        F.log_softmax(student.float() / temperature, dim=1),
        F.log_softmax(teacher.float() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    hard = F.cross_entropy(student.float(), labels)
    return alpha * hard + (1 - alpha) * temperature**2 * soft


def dkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    beta: float,
    temperature: float,
) -> Tensor:
    """``alpha · CE + (1 - alpha) · T² · (TCKD + beta · NCKD)`` (Zhao et al., 2022).

    TCKD compares how sure both are of the true class, NCKD how they share out the rest. In `kd`
    the second is damped by the teacher's certainty; here it has a weight of its own.
    """
    cold_student, cold_teacher = student.float() / temperature, teacher.float() / temperature
    truth = F.one_hot(labels, student.shape[1]).bool()

    def binary(logits: Tensor) -> Tensor:
        """Log-probabilities of the true class and of all others together: ``[N, 2]``."""
        logs = F.log_softmax(logits, dim=1)
        others = torch.logsumexp(logs.masked_fill(truth, -torch.inf), dim=1)
        return torch.stack([logs[truth], others], dim=1)

    def rest(logits: Tensor) -> Tensor:
        return F.log_softmax(logits - _MASKED * truth, dim=1)

    def divergence(logs: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(logs, target, reduction="batchmean", log_target=True)

    tckd = divergence(binary(cold_student), binary(cold_teacher))
    nckd = divergence(rest(cold_student), rest(cold_teacher))
    hard = F.cross_entropy(student.float(), labels)
    return alpha * hard + (1 - alpha) * temperature**2 * (tckd + beta * nckd)
