"""Logit standardisation: any loss on logits, on z-scores of both networks' logits."""

from __future__ import annotations

from torch import Tensor

from tvmkd.distill.logit_losses.base import SoftLoss

_TINY = 1e-7  # as in the authors' code


class Standardized(SoftLoss):
    """A loss whose part with the teacher sees z-scores; its temperature is the base temperature.

    ``z = (logits - mean) / (std + 1e-7)`` of each image, with the standard deviation over all
    classes, so that ``softmax(z / T)`` has a temperature of its own for each image and network, and
    the student need not match the size of its teacher's logits ("Logit Standardization in Knowledge
    Distillation", Sun et al., CVPR 2024). The labels' part sees the logits themselves.

    Two things differ from the authors' code: it takes torch's ``std``, which divides by one class
    less, and of `MLKD` only the part of each image sees z-scores there.

    Args:
        loss: any `SoftLoss`.
    """

    def __init__(self, loss: SoftLoss) -> None:
        self.loss, self.alpha = loss, loss.alpha
        self.whole_batch = loss.whole_batch  # type: ignore[misc]

    def soft(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """As `SoftLoss.soft`."""
        return self.loss.soft(standardize(student), standardize(teacher), labels)


def standardize(logits: Tensor) -> Tensor:
    """Z-scores of each row of float32 ``[N, classes]``; a constant row gives zeros."""
    centred = logits - logits.mean(1, keepdim=True)
    # Not std(): its gradient at 0 is NaN. A norm's is 0.
    spread = centred.norm(dim=1, keepdim=True) / centred.shape[1] ** 0.5
    found: Tensor = centred / (spread + _TINY)
    return found
