"""The error of a prediction, from the errors of its neighbours and their distance."""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 20
NINETY = 1.645
"""Standard errors on each side that hold 90 % of a normal distribution."""
LEAST = 0.02
"""No measurement repeats better than this, as a share of the time."""
MOST = 1.5
"""Far from everything, a time is known to a factor of about ten."""
ANOTHER_KIND = 3.0
"""Distance between kernels of different kinds, in standard deviations of a feature."""


class LocalError:
    """The standard error of a prediction at a point.

    It is proportional to the mean error of the nearest measured points, and grows with the distance
    to the nearest one. The factor is such that the 90 % interval holds 90 % of the points that a
    model was not trained on (split conformal prediction, Vovk et al., 2005, with scores scaled by
    difficulty, Papadopoulos et al., 2011).

    Args:
        points: of what was measured, ``[N, features]``; NaN: missing.
        kinds: of each.
        errors: absolute errors of predictions by models that were not trained on the point.
        folds: which points were left out together.
    """

    def __init__(
        self, points: np.ndarray, kinds: np.ndarray, errors: np.ndarray, folds: np.ndarray
    ) -> None:
        scaled = _scaled(points)
        self._mean, self._deviation = scaled.mean(axis=0), scaled.std(axis=0) + 1e-3
        self._points, self._kinds, self._errors = self._standard(points), kinds, errors
        distances = self._distances(self._points, kinds)
        self._usual = 1.0
        outside = np.where(folds[:, None] == folds[None], np.inf, distances).min(axis=1)
        self._usual = max(float(np.median(outside)), 1e-3)
        np.fill_diagonal(distances, np.inf)
        scores = errors / self._difficulty(distances, outside)
        level = min(1.0, 0.9 * (1 + 1 / len(errors)))
        self._factor = float(np.quantile(scores, level)) / NINETY

    def at(self, points: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """The standard error of the logarithm at each of some points."""
        distances = self._distances(self._standard(points), kinds)
        found = self._factor * self._difficulty(distances, distances.min(axis=1))
        return np.asarray(np.clip(found, LEAST, MOST))

    def _standard(self, points: np.ndarray) -> np.ndarray:
        return np.asarray((_scaled(points) - self._mean) / self._deviation)

    def _distances(self, points: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        from scipy.spatial.distance import cdist

        squares = cdist(points, self._points, "sqeuclidean")
        return np.asarray(np.sqrt(squares + ANOTHER_KIND**2 * (kinds[:, None] != self._kinds)))

    def _difficulty(self, distances: np.ndarray, nearest: np.ndarray) -> np.ndarray:
        count = min(NEIGHBOURS, distances.shape[1] - 1)
        near = np.argpartition(distances, count - 1, axis=1)[:, :count]
        mean = self._errors[near].mean(axis=1) + LEAST / 10
        return np.asarray(mean * np.sqrt(0.3 + nearest / self._usual))


def _scaled(points: np.ndarray) -> np.ndarray:
    return np.asarray(np.log1p(np.abs(np.nan_to_num(points))))
