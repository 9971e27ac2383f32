"""Times the steps of detection in an image, and checks the time budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvmkd.detection.runtime import Detector
from tvmkd.timing import stats
from tvmkd.timing.loop import collector_off, warm_up

STEPS = ("pre-processing", "model", "decode", "NMS", "post-processing", "total")
LEAST = 5  # least number of runs, whatever their duration
FEW = 200  # with fewer runs a p99 is unreliable
ROUNDS = 10
WARM_UP = 5.0  # limit of the warm-up, seconds


@dataclass(frozen=True)
class Step:
    """Milliseconds of one step for one image.

    Attributes:
        name: one of `STEPS`; post-processing is decode, NMS and bringing boxes back to the picture.
        p50, p95, p99, worst: percentiles and maximum over all runs.
        ci95: 95% confidence interval of the median.
    """

    name: str
    p50: float
    p95: float
    p99: float
    worst: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Timing:
    """The result of `measure`.

    Attributes:
        runtime: the program that ran the model.
        steps: one entry for each of `STEPS`.
        runs: number of timed runs, without warm-up.
        images: number of different images.
        settled: whether times became stable in the warm-up.
        budget_ms: time budget of an image, total, ms.
        over: number of runs that exceeded the budget.
    """

    runtime: str
    steps: tuple[Step, ...]
    runs: int
    images: int
    settled: bool
    budget_ms: float | None
    over: int | None

    @property
    def holds(self) -> bool | None:
        """Whether the p99 of the total is within the budget; None without a budget."""
        return None if self.budget_ms is None else self.steps[-1].p99 <= self.budget_ms

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-safe data."""
        return {**asdict(self), "holds": self.holds}

    def lines(self) -> list[str]:
        """The result as lines of text."""
        head = f"{'ms an image':<17}" + "".join(
            f"{name:>9}" for name in ("median", "±", "p95", "p99", "worst")
        )
        rows = [head]
        for step in self.steps:
            name = f"  {step.name}" if step.name in ("decode", "NMS") else step.name
            half = (step.ci95[1] - step.ci95[0]) / 2
            values = (step.p50, half, step.p95, step.p99, step.worst)
            rows.append(f"{name:<17}" + "".join(f"{value:>9.3f}" for value in values))
        images = "1 image" if self.images == 1 else f"{self.images} images"
        rows.append(f"{self.runs} runs on {images}, {self.runtime}")
        if not self.settled:
            rows.append("the times did not settle in the warm-up: is the machine busy?")
        if self.runs < FEW:
            rows.append(f"{self.runs} runs are few for a p99: take more seconds")
        if self.budget_ms is not None:
            verdict = "holds" if self.holds else "is MISSED"
            rows.append(
                f"the budget of {self.budget_ms:g} ms {verdict}: p99 of the total is "
                f"{self.steps[-1].p99:.3g} ms; {self.over} of {self.runs} runs took longer"
            )
        return rows


def measure(
    detector: Detector,
    pictures: Sequence[NDArray[np.uint8]],
    seconds: float = 5.0,
    budget_ms: float | None = None,
) -> Timing:
    """Times the steps from pixels to boxes, cycling through the pictures.

    Decoding an image file is not included, since a camera delivers pixels. Steps are timed inside
    whole runs, so that the state of the caches is realistic, and the total is the latency that a
    user sees.

    Args:
        detector: the detector to time. Its thresholds matter: with fewer candidates decoding is
            faster.
        pictures: uint8 RGB ``[H, W, 3]``, at least one.
        seconds: measuring time, without warm-up.
        budget_ms: time budget of an image, total, ms.
    """
    warm = warm_up(lambda: detector(pictures[0]), WARM_UP)
    stamps: list[tuple[int, ...]] = []
    with collector_off():
        begin = perf_counter_ns()
        while len(stamps) < LEAST or perf_counter_ns() - begin < seconds * 1e9:
            stamps.append(_run(detector, pictures[len(stamps) % len(pictures)]))
    took = np.diff(np.array(stamps, np.int64), axis=1) / 1e6
    post, total = took[:, 2:].sum(1), took.sum(1)
    columns = (*took.T[:4], post, total)
    return Timing(
        runtime=detector.runtime,
        steps=tuple(_step(name, times) for name, times in zip(STEPS, columns, strict=True)),
        runs=len(took),
        images=min(len(pictures), len(took)),
        settled=warm.stable,
        budget_ms=budget_ms,
        over=None if budget_ms is None else int((total > budget_ms).sum()),
    )


def _run(detector: Detector, picture: NDArray[np.uint8]) -> tuple[int, ...]:
    """Clock readings in nanoseconds, before the first step and after each step."""
    clock = perf_counter_ns
    start = clock()
    values = detector.prepare(picture)
    prepared = clock()
    logits, offsets = detector.infer(values)
    inferred = clock()
    candidates = detector.decode(logits, offsets)
    decoded = clock()
    kept = detector.suppress(candidates)
    suppressed = clock()
    detector.restore(kept, picture)
    return start, prepared, inferred, decoded, suppressed, clock()


def _step(name: str, times: NDArray[np.float64]) -> Step:
    p50, p95, p99 = (stats.percentile(times, q) for q in (50, 95, 99))
    rounds = np.array_split(times, min(ROUNDS, len(times)))
    return Step(name, p50, p95, p99, float(times.max()), stats.median_ci(rounds))
