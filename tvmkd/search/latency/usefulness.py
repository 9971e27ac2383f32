"""Which kernels to measure first: those whose unknown times make predictions most uncertain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvmkd.search.latency.prediction import KernelTime


def most_useful(
    networks: Sequence[Sequence[KernelTime]],
    weights: Sequence[float] | None = None,
    count: int | None = None,
) -> dict[str, float]:
    """The interpolated kernels of some networks, the most useful one to measure first.

    A kernel adds the variance ``(calls * seconds * error)**2`` to a network's time; errors of
    different kernels count as independent. Measuring it takes this variance away. Its use is by how
    much that lowers the standard error of the predictions, as a share of each network's time, added
    up over the networks. Kernels are chosen greedily: each one's use is what it adds after all
    those before it have been measured.

    Args:
        networks: the kernels of each network, with their times as predicted.
        weights: what each network counts: those near the front more, say; None: all alike.
        count: how many kernels to choose; None: all.

    Returns:
        the use of each kernel by its key, in the order in which to measure them. Kernels without an
        error are left out.
    """
    keys: dict[str, int] = {}
    for kernels in networks:
        for time in kernels:
            if time.source == "interpolated" and time.error > 0:
                keys.setdefault(time.kernel.key, len(keys))
    variance = np.zeros((len(networks), len(keys)))
    known = np.zeros(len(networks))
    importance = np.ones(len(networks)) if weights is None else np.array(weights, float)
    for row, kernels in enumerate(networks):
        total = sum(time.seconds * time.kernel.calls for time in kernels) or 1.0
        for time in kernels:
            share = (time.seconds * time.kernel.calls * time.error / total) ** 2
            if time.kernel.key in keys:
                variance[row, keys[time.kernel.key]] += share
            else:
                known[row] += share
    return _greedy(list(keys), variance, known, importance, len(keys) if count is None else count)


def _greedy(
    keys: list[str], variance: np.ndarray, known: np.ndarray, importance: np.ndarray, count: int
) -> dict[str, float]:
    """`most_useful` of variances by network and kernel; ``known`` stays whatever is measured."""
    left = known + variance.sum(axis=1)
    open_ = np.ones(len(keys), bool)
    chosen: dict[str, float] = {}
    while len(chosen) < min(count, len(keys)):
        after = np.sqrt(np.maximum(left[:, None] - variance, 0))
        use = importance @ (np.sqrt(left)[:, None] - after)
        use[~open_] = -np.inf
        best = int(np.argmax(use))
        chosen[keys[best]] = float(use[best])
        open_[best] = False
        left = np.maximum(left - variance[:, best], 0)
    return chosen
