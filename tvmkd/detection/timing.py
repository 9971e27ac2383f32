"""What an image costs, step by step, and whether that is within the budget."""

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
LEAST = 5  # runs, however long one takes
FEW = 200  # runs that are too few for a p99
ROUNDS = 10
WARM_UP = 5.0  # seconds, at most


@dataclass(frozen=True)
class Step:
    """Milliseconds of one step for one image.

    Attributes:
        name: one of `STEPS`; post-processing is decode, NMS and bringing boxes back to the picture.
        p50, p95, p99, worst: of all runs.
        ci95: 95% interval of the median.
    """

    name: str
    p50: float
    p95: float
    p99: float
    worst: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Timing:
    """What `measure` found.

    Attributes:
        runtime: what ran the model.
        steps: one each of `STEPS`.
        runs: how many images were run, warm-up not counted.
        images: how many different ones.
        settled: whether the warm-up came to a steady time.
        budget_ms: what an image may take in all.
        over: how many runs took longer.
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
        """Whether the p99 of the total is within the budget; None without one."""
        return None if self.budget_ms is None else self.steps[-1].p99 <= self.budget_ms

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "holds": self.holds}

    def lines(self) -> list[str]:
        """A table for people."""
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
    """Times the steps from the pixels to the boxes, one picture after the other, over and over.

    Decoding a file is none of them: a camera gives pixels. The steps are timed inside of whole
    runs, so that each finds caches as it does in use, and the total is what a user waits.

    Args:
        detector: what is timed, with the thresholds that it has: the fewer candidates, the less
            there is to decode.
        pictures: uint8 RGB ``[H, W, 3]``, at least one.
        seconds: to measure for, warm-up not counted.
        budget_ms: what an image may take in all.
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
    """Nanoseconds by the clock before the first step and after each."""
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
