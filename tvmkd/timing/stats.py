"""Percentiles and their confidence intervals.

Consecutive calls are not independent: the clock, the temperature and other processes change slowly.
So intervals come from resampling whole rounds, not single calls, and a ratio is resampled with both
engines' rounds kept in pairs, since they ran next to each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Samples = Sequence[float] | np.ndarray
Rounds = Sequence[Samples]

REPLICATES = 1000
CHUNK = 4_000_000


def percentile(samples: Samples, q: float) -> float:
    """The ``q``-th percentile (0 to 100), linear between samples."""
    return float(np.percentile(np.asarray(samples, dtype=np.float64), q))


def median_ci(rounds: Rounds, seed: int = 0) -> tuple[float, float]:
    """95% interval of the median of all samples of ``rounds``; the samples must be above zero.

    With two rounds or more: a bootstrap over rounds, widened for their small number, and to the
    order-statistic interval where that is wider. With one round, the latter.
    """
    low, high = order_statistic_ci(_pooled(rounds))
    if len(rounds) < 2:
        return low, high
    medians = _medians(rounds, _picks(len(rounds), seed))
    low_b, high_b = _interval(_median(rounds), medians, len(rounds))
    pooled = _pooled(rounds)
    return max(min(low, low_b), float(pooled.min())), min(max(high, high_b), float(pooled.max()))


def order_statistic_ci(samples: Samples) -> tuple[float, float]:
    """95% interval of the median of independent samples, from the binomial's normal form."""
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    n = len(ordered)
    half = 1.96 * np.sqrt(n) / 2
    low = max(0, int(np.floor(n / 2 - half)))
    high = min(n - 1, int(np.ceil(n / 2 + half)))
    return float(ordered[low]), float(ordered[high])


def ratio_ci(ours: Rounds, theirs: Rounds, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """``median(ours) / median(theirs)`` and its 95% interval, from paired rounds.

    Args:
        ours: samples of each round, any unit.
        theirs: samples of the same rounds, same unit, same number of rounds.

    Raises:
        ValueError: the rounds do not pair up.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"rounds do not pair up: {len(ours)} and {len(theirs)}")
    ratio = _median(ours) / _median(theirs)
    if len(ours) < 2:
        a, b = median_ci(ours), median_ci(theirs)
        return ratio, (a[0] / b[1], a[1] / b[0])
    picks = _picks(len(ours), seed)
    low, high = _interval(ratio, _medians(ours, picks) / _medians(theirs, picks), len(ours))
    # The sampling error inside the rounds, combined as for independent medians.
    spread = np.hypot(_relative_error(ours), _relative_error(theirs))
    return ratio, (min(low, ratio / (1 + spread)), max(high, ratio * (1 + spread)))


def builds_error(medians: Sequence[float]) -> float:
    """Half the 95% interval of the logarithm of a median over builds, by Student's t.

    With only two builds t is large, so the interval is wide. It also contains the noise inside each
    build, so the result is conservative: more often "level".

    Args:
        medians: median of each build, above zero. With fewer than two the result is 0.0.
    """
    count = len(medians)
    if count < 2:
        return 0.0
    return float(student_t(count - 1) * np.std(np.log(medians), ddof=1) / np.sqrt(count))


def widened(centre: float, interval: tuple[float, float], error: float) -> tuple[float, float]:
    """The interval around ``centre``, widened by an independent error of the logarithm."""
    low, high = (np.hypot(np.log(end / centre), error) for end in interval)
    return float(centre * np.exp(-low)), float(centre * np.exp(high))


def student_t(freedom: int) -> float:
    """Student's t for a two-sided interval of 95%."""
    # Not scipy.stats, because its import takes a second.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def _interval(centre: float, replicates: np.ndarray, rounds: int) -> tuple[float, float]:
    """The bootstrap's 95% interval on a log scale, widened for a small number of rounds.

    A nominal 95% bootstrap over ten rounds covers about 86%. Student's t in place of the normal
    quantile corrects this.
    """
    freedom = rounds - 1
    stretch = student_t(freedom) / 1.96 * np.sqrt(rounds / freedom)
    logs = np.log(np.percentile(replicates, [2.5, 97.5]) / centre) * stretch
    return float(centre * np.exp(min(logs[0], 0.0))), float(centre * np.exp(max(logs[1], 0.0)))


def _pooled(rounds: Rounds) -> np.ndarray:
    return np.concatenate([np.asarray(one, dtype=np.float64) for one in rounds])


def _median(rounds: Rounds) -> float:
    return float(np.median(_pooled(rounds)))


def _relative_error(rounds: Rounds) -> float:
    low, high = order_statistic_ci(_pooled(rounds))
    return (high - low) / 2 / _median(rounds)


def _picks(rounds: int, seed: int) -> np.ndarray:
    """How often each round is drawn: (replicates, rounds) counts, each row summing to rounds."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(rounds, np.full(rounds, 1 / rounds), size=REPLICATES)


def _medians(rounds: Rounds, picks: np.ndarray) -> np.ndarray:
    """The median of the pooled samples for each row of ``picks``, by one sort and weights."""
    pooled = _pooled(rounds)
    owner = np.repeat(np.arange(len(rounds)), [len(one) for one in rounds])
    order = np.argsort(pooled, kind="stable")
    pooled, owner = pooled[order], owner[order]
    result = np.empty(len(picks))
    step = max(1, CHUNK // len(pooled))
    for start in range(0, len(picks), step):
        mass = np.cumsum(picks[start : start + step][:, owner], axis=1)
        half = (mass[:, -1:] + 1) // 2
        result[start : start + step] = pooled[np.argmax(mass >= half, axis=1)]
    return result
