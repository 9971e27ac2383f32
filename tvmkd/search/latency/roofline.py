"""A kernel's time from its features alone: arithmetic, memory, threads and a call.

As in the roofline model (Williams et al., 2009) a few rates describe the machine. They are fitted
to measured kernels; where these are few, the rates keep the proportions of a usual CPU core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Features = Mapping[str, float]
HERTZ, BYTES_PER_SECOND, CALL, THREADS = 3e9, 1e10, 4e-8, 1e-6
"""Of a usual core: cycles and bytes a second, the seconds of a call, and of waking threads."""
FLOP_PER_CYCLE = 32.0
"""Of a usual core, where nothing else is known of a kernel."""
BYTES = ("input_bytes", "weight_bytes", "extra_bytes", "output_bytes")
PARTS = ("expected", "main", "beside", "memory", "threads", "call")
SPREAD = 0.1
"""Relative errors far above this are outliers: they count by their size, not by their square."""
PRIOR = 1.0
"""Measured kernels that the proportions of the usual core count as."""


def parts(features: Features) -> list[float]:
    """Seconds of each of `PARTS` on a usual core.

    Where a cost model expects cycles for the best schedule (``expected``), these stand for the main
    loop nest, what follows it for each of its results, memory and threads. ``beside`` then holds
    only what is computed for more elements than those (squeeze-and-excitation's multiplication).

    Args:
        features: see `tvmkd.stacks.relax.kernel_features`; what is missing counts as nothing.
    """
    get = features.get
    sums = max(get("sums", 1.0), 1.0)
    results = max(get("work", 0.0), 1.0) / sums
    vectors = get("vectors", 0.0)
    each = vectors / results if vectors else 1 / FLOP_PER_CYCLE
    others = get("other_work", 0.0)
    beside = get("instructions", others) * each / 2
    if get("expected", 0.0) > 0:
        nests = max(1.0, get("elementwise", 0.0) + get("reductions", 0.0))
        wider = max(0.0, others - nests * results) / max(others, 1.0)
        return [features["expected"] / HERTZ, 0.0, wider * beside / HERTZ, 0.0, 0.0, CALL]
    main = vectors * sums * get("main_instructions", 2.0) / 2
    main = main or get("flop", 0.0) / FLOP_PER_CYCLE
    moved = sum(get(name, 0.0) for name in BYTES)
    threads = THREADS * get("threads", 0.0)
    return [0.0, main / HERTZ, beside / HERTZ, moved / BYTES_PER_SECOND, threads, CALL]


@dataclass(frozen=True)
class Roofline:
    """A machine: how much longer than on the usual core each of `PARTS` takes."""

    factors: np.ndarray

    def shares(self, rows: Sequence[Features]) -> np.ndarray:
        """Seconds of each part of each kernel, ``[kernels, PARTS]``."""
        usual = np.array([parts(row) for row in rows]).reshape(-1, len(PARTS))
        return np.asarray(usual * self.factors)

    def seconds(self, rows: Sequence[Features]) -> np.ndarray:
        """Seconds of each kernel."""
        return np.asarray(self.shares(rows).sum(axis=1))


USUAL = Roofline(np.ones(len(PARTS)))
"""The machine to assume where nothing was measured."""


def fit(rows: Sequence[Features], seconds: Sequence[float]) -> Roofline:
    """The machine that explains measured kernels best.

    Args:
        rows: the features of at least one kernel.
        seconds: of each, above 0.
    """
    from scipy.optimize import least_squares

    usual = np.array([parts(row) for row in rows])
    logs = np.log(np.asarray(seconds, float))
    start = float(np.median(logs - np.log(usual.sum(axis=1))))

    def residuals(factors: np.ndarray) -> np.ndarray:
        off = (np.log(usual @ np.exp(factors)) - logs) / SPREAD
        soft = np.sign(off) * np.sqrt(2 * (np.sqrt(1 + off**2) - 1))
        return np.concatenate([soft, np.sqrt(PRIOR) * (factors - start)])

    found = least_squares(residuals, np.full(len(PARTS), start), method="lm")
    return Roofline(np.exp(found.x))
