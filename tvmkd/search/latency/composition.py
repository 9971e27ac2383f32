"""A network's time from its kernels' times: a linear model with Gaussian unknowns.

A kernel that is timed alone finds its data in the nearest cache; in a network the kernel before it
left other data there, and every call costs something more. So the time of a network is

    T = Σ calls · t · (s(kind) + δ) + c0 + c1 · (number of calls)

with t the time of each kernel alone. The factor s of each kind, the deviation δ of each kernel and
the costs c0 and c1 are unknown. All have Gaussian priors, and whole networks that were timed on the
target update them (Bayesian linear regression: Rasmussen & Williams, "Gaussian Processes for
Machine Learning", 2006, chapter 2; leaving one out in closed form: section 5.4.2). How far kernels
deviate and how exact the model is are chosen by the marginal likelihood. The interval is as wide as
nine tenths of the networks need that were left out in turn (conformal prediction).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvmkd.search.latency.prediction import KernelTime, Prediction

Array = NDArray[np.float64]

COVERAGE = 0.9
"""Share of the measured times that intervals are to hold."""
GAUSSIAN = 1.645
"""Standard deviations on each side that hold this share, if errors are Gaussian."""
FACTOR, FACTOR_SD = 1.1, 0.3
"""Expected time of a kernel in a network over its time alone, before any network was timed."""
COST = 0.3
"""Standard deviation of c0, and of c1 for all calls, over the time of a typical network."""
DEVIATIONS = (0.02, 0.05, 0.1, 0.2, 0.35)
ERRORS = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12)
"""Candidates for the standard deviation of δ, and for the model's own relative error."""
UNCHECKED = (0.1, 0.08)
"""Both, while fewer networks than `FEW` were timed."""
FEW = 8
DOUBTFUL = 0.04
"""`Timed.doubt` above which a network does not count where predictions are judged."""


@dataclass(frozen=True)
class Timed:
    """A whole network that was timed: its kernels with their times alone, and seconds a run.

    ``doubt`` is the standard error of the logarithm of ``seconds`` beside the model's own error.
    """

    kernels: Sequence[KernelTime]
    seconds: float
    doubt: float = 0.0


@dataclass(frozen=True)
class _Terms:
    """The numbers of a network that the unknowns are multiplied with."""

    common: Array  # seconds of each kind, 1, number of calls
    kernels: dict[str, float]  # seconds of each kernel, by `_own`
    errors: dict[str, float]  # the standard error of its logarithm

    @property
    def prior(self) -> float:
        return FACTOR * float(self.common[:-2].sum())


@dataclass(frozen=True)
class Composition:
    """The model, fitted by `fit`.

    Attributes:
        kinds: of kernels; a kind that is not among them is taken for the last, ``other``.
        deviation: standard deviation of δ.
        error: the model's own relative error.
        left_out: predicted over measured time of each network that was timed undisturbed, from all
            others.
        width: standard deviations that an interval reaches to each side.
    """

    kinds: tuple[str, ...]
    keys: dict[str, int]
    mean: Array
    variance: Array  # of the prior, one value an unknown
    design: Array
    inverse: Array
    deviation: float
    error: float
    left_out: Array
    width: float

    def predict(self, kernels: Sequence[KernelTime]) -> Prediction:
        """The time of a network of these kernels."""
        terms = _terms(kernels, self.kinds)
        row = np.zeros(len(self.mean))
        row[: len(terms.common)] = terms.common
        unseen = 0.0
        for key, seconds in terms.kernels.items():
            place = self.keys.get(key)
            if place is not None:
                row[place] = seconds
            else:
                unseen += (seconds * math.hypot(terms.errors[key], self.deviation)) ** 2
        prior = self.variance
        if not len(self.design):  # the scale of the costs is unknown: a share of the network's time
            prior = prior.copy()
            prior[[-2, -1]] = _costs(terms.prior, max(terms.common[-1], 1.0))
        spread = self.design @ (prior * row)
        variance = float(row @ (prior * row) - spread @ self.inverse @ spread) + unseen
        factors = self.mean[: len(self.kinds)]
        inside = [
            replace(each, seconds=each.seconds * self._factor(each, factors)) for each in kernels
        ]
        # However few networks were timed, a time is positive.
        seconds = max(float(row @ self.mean), 0.1 * terms.prior, 1e-12)
        relative = math.hypot(math.sqrt(max(variance, 0.0)) / seconds, self.error)
        reach = math.exp(min(self.width * relative, 5.0))
        return Prediction(
            seconds,
            seconds / reach,
            seconds * reach,
            sorted(inside, key=lambda each: -each.seconds * each.kernel.calls),
            seconds - sum(each.seconds * each.kernel.calls for each in inside),
        )

    def _factor(self, kernel: KernelTime, factors: Array) -> float:
        place = self.keys.get(_own(kernel))
        own = 0.0 if place is None else float(self.mean[place])
        return max(0.1, float(factors[_kind(kernel, self.kinds)]) + own)

    def describe(self) -> dict[str, Any]:
        """JSON-safe: the networks it was checked on, and how near it came, each left out."""
        off = np.abs(self.left_out - 1)
        return {
            "networks": len(self.design),
            "judged_by": len(off),
            "within_5_percent": float(np.mean(off <= 0.05)) if len(off) else None,
            "within_10_percent": float(np.mean(off <= 0.1)) if len(off) else None,
            "median_error": float(np.median(off)) if len(off) else None,
            "factors": dict(zip(self.kinds, self.mean[: len(self.kinds)].tolist(), strict=True)),
            "fixed_us": float(self.mean[len(self.kinds)]) * 1e6,
            "call_us": float(self.mean[len(self.kinds) + 1]) * 1e6,
        }


def fit(networks: Sequence[Timed], exact: bool = False) -> Composition:
    """Fits the model to whole networks; without any, it has its priors alone.

    Args:
        networks: what was timed.
        exact: the figures are counts of instructions, to which a kernel's surroundings add nothing.
    """
    kinds = (*sorted({each.kernel.kind for net in networks for each in net.kernels}), "other")
    if not networks:
        kinds = ("other",)
    rows = [_terms(net.kernels, kinds) for net in networks]
    measured = np.array([net.seconds for net in networks])
    doubts = np.array([net.doubt for net in networks])
    errors: dict[str, float] = {}
    for row in rows:
        errors.update(row.errors)
    keys = {key: len(kinds) + 2 + place for place, key in enumerate(errors)}
    design = np.zeros((len(rows), len(kinds) + 2 + len(keys)))
    for number, row in enumerate(rows):
        design[number, : len(row.common)] = row.common
        for key, seconds in row.kernels.items():
            design[number, keys[key]] = seconds
    mean = np.zeros(design.shape[1])
    mean[: len(kinds)] = 1.0 if exact else FACTOR
    whole = float(np.median(measured)) if len(rows) else 1e-3
    calls = float(np.median(design[:, len(kinds) + 1])) if len(rows) else 30.0
    known = np.array(list(errors.values()))

    def prior(deviation: float) -> Array:
        common = [(0.02 if exact else FACTOR_SD) ** 2] * len(kinds)
        common += _costs(whole, calls)
        return np.concatenate([common, known**2 + deviation**2])

    candidates = [UNCHECKED]
    if len(rows) >= FEW:
        candidates = list(itertools.product(DEVIATIONS, ERRORS))
    deviation, error = max(
        candidates,
        key=lambda pair: _evidence(
            design, mean, prior(pair[0]), measured, np.hypot(pair[1], doubts)
        ),
    )
    variance = prior(deviation)
    inverse, gap = _solve(design, mean, variance, measured, np.hypot(error, doubts))
    left_out, width = np.zeros(0), 1.5 * GAUSSIAN
    if len(rows) > 1:
        diagonal = np.diag(inverse)
        off = (inverse @ gap) / diagonal  # measured less predicted
        # A time that is in doubt itself says nothing of how good a prediction is.
        sure = doubts <= DOUBTFUL if (doubts <= DOUBTFUL).any() else np.full(len(rows), True)
        left_out = np.maximum(1 - off / measured, 0.01)[sure]
        scores = np.abs(np.log(left_out)) / (np.sqrt(1 / diagonal) / measured)[sure]
        place = math.ceil((len(scores) + 1) * COVERAGE) - 1
        if len(scores) >= FEW:
            width = max(1.0, float(np.sort(scores)[min(place, len(scores) - 1)]))
    return Composition(
        kinds,
        keys,
        mean + variance * (design.T @ (inverse @ gap)),
        variance,
        design,
        inverse,
        deviation,
        error,
        left_out,
        width,
    )


def _costs(whole: float, calls: float) -> list[float]:
    """The prior variances of c0 and c1, from a typical network's seconds and calls."""
    return [(COST * whole) ** 2, (COST * whole / calls) ** 2]


def _solve(
    design: Array, mean: Array, variance: Array, measured: Array, error: Array
) -> tuple[Array, Array]:
    """The inverse covariance of the measured times, and their distances from the prior mean."""
    covariance = (design * variance) @ design.T + np.diag((error * measured) ** 2)
    inverse: Array = np.asarray(np.linalg.inv(covariance) if len(measured) else covariance, float)
    return inverse, measured - design @ mean


def _evidence(design: Array, mean: Array, variance: Array, measured: Array, error: Array) -> float:
    """The logarithm of the marginal likelihood, up to a constant."""
    inverse, gap = _solve(design, mean, variance, measured, error)
    _, logarithm = np.linalg.slogdet(inverse)
    return 0.5 * float(logarithm) - 0.5 * float(gap @ inverse @ gap)


def _kind(kernel: KernelTime, kinds: tuple[str, ...]) -> int:
    kind = kernel.kernel.kind
    return kinds.index(kind) if kind in kinds else len(kinds) - 1


def _own(kernel: KernelTime) -> str:
    """The name of a kernel's deviation.

    That from an interpolated time is another one than that from a measured time: what the
    interpolation was wrong by says nothing about the kernel once it has been measured.
    """
    return kernel.kernel.key if kernel.error == 0 else f"{kernel.kernel.key} interpolated"


def _terms(kernels: Sequence[KernelTime], kinds: tuple[str, ...]) -> _Terms:
    common = np.zeros(len(kinds) + 2)
    common[-2] = 1.0
    parts: dict[str, float] = {}
    errors: dict[str, float] = {}
    for each in kernels:
        seconds = each.seconds * each.kernel.calls
        common[_kind(each, kinds)] += seconds
        common[-1] += each.kernel.calls
        parts[_own(each)] = parts.get(_own(each), 0.0) + seconds
        errors[_own(each)] = each.error
    return _Terms(common, parts, errors)
