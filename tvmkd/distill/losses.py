"""What a student is asked to make small.

Every function takes float logits ``[N, classes]`` (the student's first, where there are two) and
int64 labels ``[N]``, and returns a float32 scalar: the mean over the batch, or a weighted one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Some training images on their way through a student.

    Attributes:
        images: float ``[N, C, H, W]``, augmented.
        labels: int64 ``[N]``.
        indices: int64 ``[N]``, which images of the training split they are; on the CPU.
        progress: how much of the training is done, 0 to 1.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    progress: float


Loss = Callable[[Batch, Tensor], Tensor]
"""From a batch and the logits on it to a scalar."""

_MASKED = 1000.0  # as good as minus infinity in a softmax, without its NaN


def cross_entropy(batch: Batch, logits: Tensor) -> Tensor:
    """Labels alone: how teachers and baselines are trained."""
    return F.cross_entropy(logits.float(), batch.labels)


def kd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    temperature: float,
    weights: Tensor | None = None,
) -> Tensor:
    """``alpha · CE + (1 - alpha) · T² · KL(teacher/T ‖ student/T)`` (Hinton et al., 2015).

    Args:
        weights: of the images, float ``[N]``, 1 in the mean.
    """
    soft = _divergence(
        F.log_softmax(student.float() / temperature, dim=1),
        F.log_softmax(teacher.float() / temperature, dim=1),
    )
    hard = F.cross_entropy(student.float(), labels, reduction="none")
    return _mean(alpha * hard + (1 - alpha) * temperature**2 * soft, weights)


def dkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    beta: float,
    temperature: float,
    weights: Tensor | None = None,
) -> Tensor:
    """``alpha · CE + (1 - alpha) · T² · (TCKD + beta · NCKD)`` (Zhao et al., 2022).

    TCKD compares how sure both are of the true class, NCKD how they share out the rest. In `kd`
    the second is damped by the teacher's certainty; here it has a weight of its own.

    Args:
        weights: of the images, float ``[N]``, 1 in the mean.
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

    tckd = _divergence(binary(cold_student), binary(cold_teacher))
    nckd = _divergence(rest(cold_student), rest(cold_teacher))
    hard = F.cross_entropy(student.float(), labels, reduction="none")
    return _mean(alpha * hard + (1 - alpha) * temperature**2 * (tckd + beta * nckd), weights)


def _divergence(logs: Tensor, target: Tensor) -> Tensor:
    """KL(target ‖ logs) of log-probabilities, for each image."""
    return F.kl_div(logs, target, reduction="none", log_target=True).sum(1)


def _mean(each: Tensor, weights: Tensor | None) -> Tensor:
    return each.mean() if weights is None else (weights * each).mean()
