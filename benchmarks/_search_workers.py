"""How much faster several workers of one study are, with trainings replaced by a declared delay.

Used by bench_search.py. By itself: ``python benchmarks/_search_workers.py [WORKERS [DELAY]]``.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvmkd import config, targets
from tvmkd.search.latency.prediction import Kernel, Measured, Prediction
from tvmkd.search.study.bench import Plan
from tvmkd.search.study.opening import open_bench
from tvmkd.search.study.training import Trained
from tvmkd.search.study.workers import Workers

DELAY = "TVMKD_BENCH_DELAY"
"""Environment variable: the delay in seconds."""
TRIALS = 6
"""Trials of each worker that count."""
CONFIG: dict[str, Any] = {
    "project": {"name": "workers"},
    "data": {"dataset": "digits", "image_size": 16},
    "student": {"model": "depthwise", "args": {"stem": 8}},
    "distill": {"epochs": 9, "seeds": [0], "baseline": False},
    "search": {
        "budget": "1s",
        "stop": "never",
        "space": {
            "width": {"low": 0.25, "high": 2.0, "step": 0.125},
            "depth": [0.5, 1.0, 1.5],
            "distill.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        },
    },
}


class Parameters:
    """A latency predictor that needs no compiler: a nanosecond for each parameter."""

    unit = "s"

    def kernels(self, model: Any, shape: Sequence[int] | None = None) -> list[Kernel]:
        """One kernel."""
        count = sum(weight.numel() for weight in model.parameters())
        return [Kernel("all", "all", "conv2d", 1, float(count))]

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        """Without an interval."""
        seconds = sum(kernel.flop for kernel in kernels) * 1e-9
        return Prediction(seconds, seconds, seconds)

    def predict_model(self, model: Any, shape: Sequence[int] | None = None) -> Prediction:
        """Both."""
        return self.predict(self.kernels(model, shape))

    def measure(self, onnx: Path) -> Measured:
        """Never asked for: there are no weights to export."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"source": "parameters"}


def latency(*_: Any) -> Parameters:
    """For `Plan.latency`."""
    return Parameters()


class Waits:
    """For `Plan.training`: trainings that take the delay, and score what a network's size says."""

    def __init__(self, networks: Any) -> None:
        del networks

    def teacher(self, candidate: Any) -> None:
        """None."""
        del candidate

    def fit(self, candidate: Any, rungs: Any, report: Any) -> Trained:
        """Waits, an epoch at a time."""
        del rungs
        seconds, epochs = float(os.environ[DELAY]), candidate.cfg.distill.epochs
        report(0, "")
        for epoch in range(1, epochs + 1):
            time.sleep(seconds / epochs)
            report(epoch, "waiting")
        return Trained(1 - 1e3 / (1e3 + candidate.size.parameters), None, seconds, epochs, None)


def rate(workers: int, folder: Path) -> float:
    """Trials in a second: the sum of the workers', each from its first trial to its last."""
    trials = workers * (TRIALS + 2)
    search = {**CONFIG["search"], "trials": trials, "workers": workers}
    cfg = config.parse({**CONFIG, "search": search})
    plan = Plan(
        cfg,
        targets.load("host"),
        folder,
        latency="_search_workers:latency",
        training="_search_workers:Waits",
    )
    open_bench(plan, lambda name, data: None).close()
    done: list[tuple[float, int]] = []

    def event(name: str, data: dict[str, Any]) -> None:
        if name == "trial":
            done.append((time.monotonic(), data["worker"]))

    with Workers(plan, workers) as team:
        team.run(event)
    if len(done) < trials:
        raise RuntimeError(f"{len(done)} of {trials} trials were done")
    own = {worker: [when for when, who in done if who == worker] for worker in range(workers)}
    if min(map(len, own.values())) < 2:
        raise RuntimeError("a worker did less than two trials: give more of them")
    return sum((len(ends) - 1) / (ends[-1] - ends[0]) for ends in own.values())


def speedup(workers: int = 4, delay: float = 2.0, rounds: int = 2) -> float:
    """How many times as many trials ``workers`` do as one, in turns; the median round.

    Args:
        workers: processes on this machine.
        delay: what a training takes, in seconds; all else (proposing, building, the journal) is
            real.
        rounds: of one worker and then of several.
    """
    before, os.environ[DELAY] = os.environ.get(DELAY), str(delay)
    try:
        ratios = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as several:
                alone = rate(1, Path(one))
                ratios.append(rate(workers, Path(several)) / alone)
    finally:
        if before is None:
            del os.environ[DELAY]
        else:
            os.environ[DELAY] = before
    return statistics.median(ratios)


def main() -> None:
    """Prints the speed-up as JSON."""
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    delay = float(sys.argv[2]) if len(sys.argv) > 2 else 2.0
    print(json.dumps({"workers": workers, "delay": delay, "speedup": speedup(workers, delay)}))


if __name__ == "__main__":
    main()
