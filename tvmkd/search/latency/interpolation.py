"""The times of kernels that nobody has measured, from those of similar kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tvmkd.base.errors import InputError
from tvmkd.search.latency import roofline
from tvmkd.search.latency.local_error import LocalError
from tvmkd.search.latency.prediction import Kernel
from tvmkd.search.latency.roofline import BYTES, Roofline

FOLDS = 5
FEWEST = 8
"""Measured kernels from which trees are better than the rates of a machine alone."""
GUESS_ERROR = 1.0
"""Standard error of the logarithm of a time that `roofline` gives."""
GUESS_WEIGHT = 4.0
"""Measured kernels that `GUESS_ERROR` counts as."""
TREES = {"n_estimators": 200, "max_depth": 4, "learning_rate": 0.08, "max_bin": 64,
         "subsample": 0.8, "colsample_bytree": 0.8, "n_jobs": 1, "random_state": 0}  # fmt: skip


class KernelModel:
    """Predicts kernels' times: gradient-boosted trees correct a `roofline` model.

    There is one model for each of `FOLDS` folds, trained on the kernels outside the fold; a
    prediction is their mean. What each says of the kernels in its fold gives the errors
    (`tvmkd.search.latency.local_error`). Fitting some hundred kernels takes 0.3 s, so that nothing
    is stored: a table fits its model when it is opened. The same kernels give the same model.
    """

    def __init__(self) -> None:
        self._roofline: Roofline | None = None
        self._trees: list[Any] = []
        self._error: LocalError | float = GUESS_ERROR
        self._names: list[str] = []
        self._kinds: list[str] = []
        self._known: dict[str, tuple[float, float]] = {}

    def fit(self, kernels: Sequence[Kernel], seconds: Sequence[float]) -> KernelModel:
        """Learns from measured kernels; returns itself.

        Args:
            kernels: at least one; the same key must not come twice.
            seconds: of one call of each.

        Raises:
            InputError: there is no kernel.
        """
        if not kernels:
            raise InputError(
                "no kernel was measured, so that none can be interpolated; make trials first"
            )
        order = sorted(range(len(kernels)), key=lambda number: kernels[number].key)
        kernels = [kernels[number] for number in order]
        logs = np.log(np.array([seconds[number] for number in order], float))
        rows = [kernel.features for kernel in kernels]
        self._roofline = roofline.fit(rows, np.exp(logs))
        self._names = sorted({name for row in rows for name in row})
        self._kinds = sorted({kernel.kind for kernel in kernels})
        left = logs - np.log(self._roofline.seconds(rows))
        self._trees, self._known = [], {}
        if len(kernels) < FEWEST:
            squares = float(left @ left) + GUESS_WEIGHT * GUESS_ERROR**2
            self._error = float(np.sqrt(squares / (len(kernels) + GUESS_WEIGHT)))
            return self
        self._fit_trees(kernels, left)
        return self

    def _fit_trees(self, kernels: Sequence[Kernel], left: np.ndarray) -> None:
        import xgboost

        points = self._points(kernels)
        folds = np.random.default_rng(0).permutation(len(kernels)) % FOLDS
        errors = np.zeros(len(kernels))
        for fold in range(FOLDS):
            inside = folds == fold
            trees = xgboost.XGBRegressor(**TREES).fit(points[~inside], left[~inside])
            errors[inside] = np.abs(trees.predict(points[inside]) - left[inside])
            self._trees.append(trees)
        kinds = np.array([kernel.kind for kernel in kernels])
        self._error = LocalError(points, kinds, errors, folds)

    def predict(self, kernel: Kernel) -> tuple[float, float]:
        """Seconds of one call of a kernel, and the standard error of their logarithm.

        Raises:
            InputError: nothing was measured.
        """
        return self.predict_all([kernel])[0]

    def predict_all(self, kernels: Sequence[Kernel]) -> list[tuple[float, float]]:
        """`predict` of each of some kernels, in one go.

        Raises:
            InputError: nothing was measured.
        """
        if self._roofline is None:
            raise InputError("no kernel was measured, so that none can be interpolated")
        new = list({each.key: each for each in kernels if each.key not in self._known}.values())
        if new:
            self._known |= zip([each.key for each in new], self._predicted(new), strict=True)
        return [self._known[each.key] for each in kernels]

    def _predicted(self, kernels: Sequence[Kernel]) -> list[tuple[float, float]]:
        assert self._roofline is not None
        logs = np.log(self._roofline.seconds([kernel.features for kernel in kernels]))
        if isinstance(self._error, LocalError):
            points = self._points(kernels)
            logs = logs + np.mean([trees.predict(points) for trees in self._trees], axis=0)
            errors = self._error.at(points, np.array([kernel.kind for kernel in kernels]))
        else:
            errors = np.full(len(kernels), self._error)
        return [(float(a), float(b)) for a, b in zip(np.exp(logs), errors, strict=True)]

    def _points(self, kernels: Sequence[Kernel]) -> np.ndarray:
        """What the trees see of kernels: features, kinds, the roofline's parts, and ratios."""
        assert self._roofline is not None
        rows = [kernel.features for kernel in kernels]
        given = [[row.get(name, np.nan) for name in self._names] for row in rows]
        kinds = [[float(kernel.kind == kind) for kind in self._kinds] for kernel in kernels]
        shares = self._roofline.shares(rows)
        whole = shares.sum(axis=1, keepdims=True)

        def column(name: str) -> np.ndarray:
            return np.array([row.get(name, 0.0) for row in rows])

        vectors = column("vectors") * column("sums")
        moved = sum((column(name) for name in BYTES), np.zeros(len(rows)))
        ratios = np.log1p(
            [
                moved / np.maximum(column("work"), 1),
                column("rows") * column("columns"),
                vectors,
                column("expected") / np.maximum(vectors, 1),
            ]
        )
        return np.hstack(
            [np.array(given).reshape(len(rows), -1), kinds, np.log(whole), shares / whole, ratios.T]
        )
