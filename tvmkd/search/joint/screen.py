"""Which of many proposed structures to train: the one that is expected to move the front the most.

A structure's latency is known before it is trained, and only its score must be guessed: by a
Gaussian process over the structures that were trained. The expected hypervolume gain then has a
closed form: the score's expected improvement over each step of the front that the structure is fast
enough for, times the step's width (Emmerich, Deutz and Klinkenberg, "Hypervolume-based expected
improvement", CEC 2011, with one objective known).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd.search.front import nondominated
from tvmkd.search.joint.candidates import Candidate
from tvmkd.search.joint.standing import Network

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

ENOUGH = 6  # trained structures from which on scores are guessed; before, latencies are spread


BEYOND = 2.0  # without a budget, latencies count up to so many times the greatest known one


class Screen:
    """Chooses among structures whose kernels are known.

    Args:
        budget: the latency beyond which nothing counts, in seconds.
    """

    def __init__(self, budget: float | None = None) -> None:
        self._budget = budget
        self._process: GaussianProcessRegressor | None = None
        self._fitted = 0

    def choose(
        self,
        candidates: Sequence[Candidate],
        latencies: Sequence[float],
        past: Sequence[Network],
        past_latencies: Sequence[float],
    ) -> int:
        """The index of the candidate to train.

        Args:
            candidates: structures with their kernels, at least one.
            latencies: theirs, in seconds.
            past: what was trained.
            past_latencies: theirs, in seconds, predicted in the same way.
        """
        if len(past) < ENOUGH:
            return self._farthest(latencies, past_latencies)
        features = encode([*past, *candidates])
        known, asked = features[: len(past)], features[len(past) :]
        scores = np.array([each.score for each in past])
        mean, deviation = self._guess(known, scores, asked)
        gains = expected_gains(
            np.log(latencies),
            mean,
            deviation,
            np.log(past_latencies),
            scores,
            math.log(self._budget or BEYOND * max(*latencies, *past_latencies)),
        )
        if not gains.max() > 0:
            return int(np.argmin(latencies))
        return int(np.argmax(gains))

    def _farthest(self, latencies: Sequence[float], past: Sequence[float]) -> int:
        """The candidate whose latency is farthest from all others', within the budget."""
        logs, known = np.log(latencies), np.log(np.asarray(past))
        if self._budget is not None and min(latencies) <= self._budget:
            logs = np.where(np.asarray(latencies) <= self._budget, logs, np.nan)
        if not len(known):
            return int(np.nanargmin(np.abs(logs - np.nanmedian(logs))))
        return int(np.nanargmax(np.abs(logs[:, None] - known).min(axis=1)))

    def _guess(
        self, known: np.ndarray, scores: np.ndarray, asked: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mean and the standard deviation of the candidates' scores."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        scale = float(scores.std()) or 1.0
        targets = (scores - scores.mean()) / scale
        # Its parameters are fitted anew once there is a quarter more to fit them to.
        if self._process is None or len(known) > 1.25 * self._fitted:
            lengths = np.full(known.shape[1], 2.0)
            kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern(lengths, (0.2, 50.0), nu=2.5)
            process = GaussianProcessRegressor(kernel + WhiteKernel(0.05, (1e-4, 1.0)))
            self._fitted = len(known)
        else:
            process = GaussianProcessRegressor(self._process.kernel_, optimizer=None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a bound is as good as an optimum
            self._process = process.fit(known, targets)
        mean, deviation = self._process.predict(asked, return_std=True)
        return mean * scale + scores.mean(), deviation * scale


def expected_gains(
    latencies: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    past: np.ndarray,
    scores: np.ndarray,
    limit: float,
) -> np.ndarray:
    """The hypervolume that each candidate is expected to add to a front.

    Args:
        latencies: logarithms, shape (n,).
        mean, deviation: of the candidates' scores, shape (n,).
        past: logarithms of the latencies of what is known, shape (m,).
        scores: theirs.
        limit: the logarithm of the latency beyond which nothing counts.

    Returns:
        shape (n,), in units of score times the logarithm of latency.
    """
    order = nondominated(scores, past)
    heights = np.concatenate(([scores.min()], scores[order]))
    starts = np.concatenate(([-np.inf], past[order]))
    ends = np.minimum(np.concatenate((past[order], [np.inf])), limit)
    widths = np.maximum(0.0, ends - np.maximum(starts, latencies[:, None]))
    above = _expected_improvement(mean[:, None], deviation[:, None], heights)
    total: np.ndarray = (widths * above).sum(axis=1)
    return total


def _expected_improvement(
    mean: np.ndarray, deviation: np.ndarray, height: np.ndarray
) -> np.ndarray:
    from scipy.stats import norm

    deviation = np.maximum(deviation, 1e-9)
    z = (mean - height) / deviation
    result: np.ndarray = (mean - height) * norm.cdf(z) + deviation * norm.pdf(z)
    return result


def encode(networks: Sequence[Network | Candidate]) -> np.ndarray:
    """Networks as numbers, each column with mean 0 and deviation 1.

    Numbers stand for themselves (their logarithm where all are above zero), lists for their numbers
    and their length, everything else for whether it is this value. The last column is the
    logarithm of the operations.
    """
    columns: dict[str, list[float]] = {}
    for row, network in enumerate(networks):
        values = {"": math.log(1.0 + sum(each.flop * each.calls for each in network.kernels))}
        for name, value in network.structure.items():
            values.update(_numbers(name, value))
        for name, number in values.items():
            columns.setdefault(name, [0.0] * len(networks))[row] = number
    table = np.array([columns[name] for name in sorted(columns)]).T
    positive = (table > 0).all(axis=0)
    table[:, positive] = np.log(table[:, positive])
    table = table[:, np.ptp(table, axis=0) > 0] if len(table) else table
    if not table.shape[1]:
        return np.zeros((len(networks), 1))
    result: np.ndarray = (table - table.mean(axis=0)) / table.std(axis=0)
    return result


def _numbers(name: str, value: Any) -> dict[str, float]:
    if isinstance(value, bool) or not isinstance(value, int | float | list | tuple):
        return {f"{name}={value}": 1.0}
    if isinstance(value, int | float):
        return {name: float(value)}
    found = {f"{name} length": float(len(value))}
    for index, each in enumerate(value):
        found.update(_numbers(f"{name}.{index}", each))
    return found
