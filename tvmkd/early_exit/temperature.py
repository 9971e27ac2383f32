"""Temperature scaling: confidences of exits that are as large as their share of right answers."""

from __future__ import annotations

import numpy as np

from tvmkd.base.errors import InputError

Array = np.ndarray

SMALLEST, LARGEST = 1e-2, 1e2
BINS = 15  # Guo et al.'s


def fit(logits: Array, labels: Array) -> float:
    """The temperature of least negative log likelihood (Guo et al., ICML 2017).

    The labels are smoothed by one image in all, as Platt (1999) smooths those of his sigmoid: an
    exit that is right on every image of a small split would otherwise get the temperature 0.

    Args:
        logits: of one exit on the validation split, ``[N, classes]``.
        labels: int64 ``[N]``.

    Returns:
        the temperature; 1 if the logits tell nothing of one.

    Raises:
        InputError: a logit is not finite.
    """
    from scipy import optimize

    if not np.isfinite(logits).all():
        raise InputError(
            "early exit: an exit gives values that are not finite on the validation split; train "
            "again with a smaller lr"
        )
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    count = len(wide)
    smoothing = 1 / (count + 2)
    # The mean logit of the smoothed labels; all the loss needs of them.
    wanted = (1 - smoothing) * wide[np.arange(count), labels] + smoothing * wide.mean(axis=1)

    def loss(log_temperature: Array) -> tuple[float, Array]:
        inverse = float(np.exp(-log_temperature[0]))
        powers = np.exp(wide * inverse)
        total = powers.sum(axis=1)
        value = np.log(total) - wanted * inverse
        expected = (powers * wide).sum(axis=1) / total
        slope = -inverse * (expected - wanted)
        return float(value.mean()), np.array([slope.mean()])

    bounds = [(np.log(SMALLEST), np.log(LARGEST))]
    found = optimize.minimize(loss, np.zeros(1), jac=True, method="L-BFGS-B", bounds=bounds)
    # A search that ends worse than it began has met flat logits or an overflow.
    return float(np.exp(found.x[0])) if found.fun < loss(np.zeros(1))[0] else 1.0


def calibration_error(logits: Array, labels: Array, temperature: float = 1.0) -> float:
    """The expected calibration error in 15 bins of equal width, 0 to 1.

    Args:
        logits: of one exit, ``[N, classes]``.
        labels: int64 ``[N]``.
        temperature: by which the logits are divided.
    """
    # torchmetrics has it too, and takes seven seconds to import.
    wide = logits.astype(np.float64)
    sure = 1 / np.exp((wide - wide.max(axis=1, keepdims=True)) / temperature).sum(axis=1)
    right = logits.argmax(axis=1) == labels
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    # A bin's share of the images times the distance of its two means.
    return float(np.abs(np.bincount(bins, right - sure)).sum() / len(labels))
