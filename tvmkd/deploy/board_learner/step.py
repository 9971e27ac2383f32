"""The loss of a batch, its gradient, and a step of momentum; all in float32."""

from typing import Any, Tuple

import numpy as np


def softmax(logits: Any) -> Any:
    """Probabilities of logits ``[rows, classes]``."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def loss_of(weights: Any, bias: Any, rows: Any, labels: Any, soft: Any, temperature: float,
            distillation: float) -> float:  # fmt: skip
    """Learning without forgetting (Li and Hoiem, ECCV 2016), for a head alone.

    The mean over the batch of the cross entropy with the labels, plus ``distillation`` times
    T² KL(soft || softmax(logits of the old classes / T)).

    Args:
        weights: ``[classes, features]``.
        bias: ``[classes]``.
        rows: ``[batch, features]``.
        labels: ``[batch]``, int64.
        soft: probabilities of the old head at this temperature, ``[batch, old classes]``.
        temperature, distillation: T, and the weight of the second term.
    """
    logits = rows.dot(weights.T) + bias
    hard = -np.log(softmax(logits)[np.arange(len(labels)), labels]).mean()
    ours = np.log(softmax(logits[:, : soft.shape[1]] / temperature))
    apart = (soft * (np.log(np.maximum(soft, 1e-30)) - ours)).sum(axis=1).mean()
    return float(hard + distillation * temperature**2 * apart)


def gradient_of(weights: Any, bias: Any, rows: Any, labels: Any, soft: Any, temperature: float,
                distillation: float) -> Tuple[Any, Any]:  # fmt: skip
    """The gradient of `loss_of` with respect to weights and bias; the arguments are the same."""
    logits = rows.dot(weights.T) + bias
    apart = softmax(logits)
    apart[np.arange(len(labels)), labels] -= 1
    old = soft.shape[1]
    scale = apart.dtype.type(distillation * temperature)
    cooled = softmax(logits[:, :old] / apart.dtype.type(temperature))
    apart[:, :old] += scale * (cooled - soft)
    apart /= apart.dtype.type(len(labels))
    return apart.T.dot(rows), apart.sum(axis=0)
