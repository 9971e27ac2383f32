"""The times of kernels that nobody has measured, from those of similar kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvmkd.search.latency.prediction import Kernel

FOLDS = 5
FEWEST = 10
"""Measured kernels below which one factor is all that is learnt."""
LEAST_ERROR = 0.03


class KernelModel:
    """Gradient-boosted trees on the features of kernels that have no schedule yet."""

    def fit(self, kernels: Sequence[Kernel], seconds: Sequence[float]) -> KernelModel:
        """Learns from measured kernels.

        Args:
            kernels: at least one.
            seconds: of each.
        """
        import xgboost

        self._names = sorted({name for kernel in kernels for name in kernel.features})
        self._kinds = sorted({kernel.kind for kernel in kernels})
        wanted = np.log(seconds) - self._guess(kernels)
        self._shift, self._trees = float(np.median(wanted)), None
        self._error = max(0.5 if len(kernels) < 3 else 0.3, float(np.std(wanted)))
        if len(kernels) < FEWEST:
            return self
        rows, fold = self._rows(kernels), np.arange(len(kernels)) % FOLDS
        settings = {"n_estimators": 150, "max_depth": 4, "learning_rate": 0.1, "n_jobs": 1}
        left_out = np.empty(len(kernels))
        for number in range(FOLDS):
            rest = fold != number
            trees = xgboost.XGBRegressor(random_state=0, **settings)
            trees.fit(rows[rest], wanted[rest] - self._shift)
            left_out[~rest] = wanted[~rest] - self._shift - trees.predict(rows[~rest])
        self._error = max(LEAST_ERROR, float(np.std(left_out)))
        self._trees = xgboost.XGBRegressor(random_state=0, **settings)
        self._trees.fit(rows, wanted - self._shift)
        return self

    def predict(self, kernel: Kernel) -> tuple[float, float]:
        """Seconds of a kernel alone, and the standard error of their logarithm."""
        more = 0.0 if self._trees is None else float(self._trees.predict(self._rows([kernel]))[0])
        return float(np.exp(self._guess([kernel])[0] + self._shift + more)), self._error

    @staticmethod
    def _guess(kernels: Sequence[Kernel]) -> np.ndarray:
        return np.log([1e-7 + 1e-10 * (kernel.flop + kernel.features.get("output_bytes", 0.0))
                       for kernel in kernels])  # fmt: skip

    def _rows(self, kernels: Sequence[Kernel]) -> np.ndarray:
        return np.array(
            [
                [kernel.features.get(name, np.nan) for name in self._names]
                + [float(kernel.kind == kind) for kind in self._kinds]
                for kernel in kernels
            ],
            np.float32,
        )
