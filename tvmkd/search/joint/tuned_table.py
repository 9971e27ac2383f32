"""A latency table as the joint search tunes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from tvmkd.base.wire import Event
from tvmkd.search.joint.protocols import Progress, Spent
from tvmkd.search.latency.prediction import Kernel, KernelTime, Prediction
from tvmkd.search.latency.table import LatencyTable
from tvmkd.tuning import records

BETWEEN = 60.0
"""Seconds between two readings of the machine's drift."""
UNKNOWN = 1.0
"""Standard error of the logarithm of a time of which nothing is known."""


class TunedTable:
    """Implements `tvmkd.search.joint.protocols.Tunable`.

    Args:
        table: with boards; the networks were lowered by it.
        seed: of the tuning.
        on_event: gets the events of `tvmkd.tuning.tune.tune`.
        clock: seconds from any start.
    """

    def __init__(
        self,
        table: LatencyTable,
        seed: int = 0,
        on_event: Event | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        import time

        self._table, self._seed, self._on_event = table, seed, on_event
        self._clock = clock or time.monotonic
        self._figures: dict[str, list[float | None]] | None = None

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        """See the table; while that knows nothing, all operations cost the same, more or less."""
        if self._table.holds_times():
            return self._table.predict(kernels)
        times = [
            KernelTime(each, 1e-6 + 1e-10 * each.flop, "interpolated", UNKNOWN) for each in kernels
        ]
        total = sum(each.seconds * each.kernel.calls for each in times)
        return Prediction(total, total / math.exp(UNKNOWN), total * math.exp(UNKNOWN), times)

    def progress(self, key: str) -> Progress | None:
        """How far a kernel is tuned; None as well if none of its schedules ran."""
        figures = self._history().get(records.normal_key(key), [])
        good = [each for each in figures if each is not None]
        return Progress(len(figures), good[0], min(good)) if good else None

    def tune(self, weights: Mapping[str, float], trials: int) -> Spent:
        """Makes trials, and reads the machine's drift before them, which costs seconds as well."""
        before = self._trials(weights)
        began = self._clock()
        if not self._table.exact:
            self._table.read_drift(BETWEEN)
        try:
            self._table.tune(
                self._table.files(weights),
                weights,
                trials,
                seed=self._seed,
                on_event=self._on_event,
            )
        finally:
            self._figures = None
        return Spent(self._clock() - began, self._trials(weights) - before)

    def _trials(self, keys: Mapping[str, float]) -> int:
        history = self._history()
        return sum(len(history.get(records.normal_key(key), ())) for key in keys)

    def _history(self) -> dict[str, list[float | None]]:
        """Seconds of each trial, by kernel, oldest first; None for those that failed."""
        if self._figures is None:
            self._figures = {}
            for line in records.trials(self._table.path):
                key = records.normal_key(line["task"])
                self._figures.setdefault(key, []).append(line.get("figure"))
        return self._figures
