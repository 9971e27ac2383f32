"""One engine of a comparison: checks its outputs, times its rounds, computes its statistics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tvmkd.base.errors import MissingError, TvmkdError
from tvmkd.bench import rules, schema
from tvmkd.bench.agree import Agreement, compare_outputs
from tvmkd.bench.engines import engine_class
from tvmkd.bench.messages import Loaded
from tvmkd.bench.process import EngineProcess
from tvmkd.bench.spec import EngineSpec
from tvmkd.timing import stats
from tvmkd.timing.loop import WarmUp
from tvmkd.timing.processes import median_over_processes


class Disagrees(TvmkdError):
    """The engine's outputs differ from the reference by more than the tolerance."""


class Run:
    """One engine, or one build of it, in its process.

    Args:
        process: the engine's process.
        spec: the engine as requested; the process may run one of its builds.
        tolerance: largest error allowed; None: that of the precision.
        start: numbers the processes of the engine, from zero.
    """

    def __init__(
        self, process: EngineProcess, spec: EngineSpec, tolerance: float | None, start: int = 0
    ) -> None:
        self.process = process
        self.spec = spec
        self.start = start
        self.name = process.spec.name
        self.tolerance = tolerance or engine_class(spec.kind).tolerance[spec.precision]
        self.rounds: list[list[float]] = []
        self.warm: WarmUp
        self.facts: dict[str, Any] = {}
        self.loaded: Loaded
        self.agreement = Agreement(math.inf, math.inf, None)

    def check(
        self,
        paths: Sequence[Path],
        names: Sequence[str],
        folder: Path,
        timeout: float,
        wanted: Sequence[Sequence[np.ndarray]],
    ) -> None:
        """Loads the engine and compares its outputs.

        Raises:
            Disagrees: the outputs differ too much from the reference.
            TvmkdError: the engine cannot be loaded or run.
        """
        self.loaded, outputs = self.process.prepare(paths, names, folder, timeout)
        self.agreement = compare_outputs(wanted, outputs, self.tolerance)
        if self.agreement.problem:
            raise Disagrees(self.agreement.problem)

    def turn(self, seconds: float, most: int, call_s: float) -> None:
        """Times one round: as many calls of ``call_s`` seconds as fit in ``seconds``.

        At least five and at most ``most``; stops early if they take four times as long."""
        count = max(5, min(most, round(seconds / call_s)))
        self.rounds.append(self.process.time(count, limit_s=4 * max(seconds, 5 * call_s)))

    def ask_facts(self) -> None:
        """Asks the engine for its facts, after the last round."""
        self.facts = self.process.facts()

    def drop(self, error: TvmkdError) -> schema.LeftOut:
        """Ends the engine's process; returns the reason for the record."""
        self.process.close()
        why: Literal["missing", "failed", "disagrees"] = "failed"
        if isinstance(error, MissingError):
            why = "missing"
        elif isinstance(error, Disagrees):
            why = "disagrees"
        number = self.process.spec.options.get("build")
        reason = str(error) if number is None or why == "missing" else f"build {number}: {error}"
        return schema.LeftOut(name=self.spec.name, kind=self.spec.kind, why=why, reason=reason)

    def build(self) -> schema.Build:
        """The results of this build, for an engine with several builds."""
        pooled = [sample for one in self.rounds for sample in one]
        return schema.Build(
            p50=stats.percentile(pooled, 50),
            ci95=stats.median_ci(self.rounds),
            round_sizes=[len(one) for one in self.rounds],
            engine_seconds=self.facts.get("engine_build_seconds"),
            size_bytes=self.loaded.size_bytes,
        )


def figures(runs: Sequence[Run]) -> schema.Engine:
    """The results of an engine, from its processes.

    Builds with the same ``start`` were timed in the same rounds: a round contains the calls of all
    of them, one build after the other. Values of single processes (size, memory, error) are the
    largest of them; facts are those of the first.
    """
    first, spec = runs[0], runs[0].spec
    processes = [
        [
            [sample for build in builds for sample in build]
            for builds in zip(*(run.rounds for run in together), strict=True)
        ]
        for _, together in itertools.groupby(runs, key=lambda run: run.start)
    ]
    rounds = [one for each in processes for one in each]
    samples = [sample for one in rounds for sample in one]
    builds = [run.build() for run in runs] if "build" in first.process.spec.options else []
    p50 = stats.percentile(samples, 50)
    ci95 = stats.widened(
        p50, stats.median_ci(rounds), stats.builds_error([build.p50 for build in builds])
    )
    if len(processes) > 1:
        _, (low, high) = median_over_processes(processes)
        ci95 = (min(low, p50), max(high, p50))
    busy = [share for run in runs for share in run.process.other_cpu]
    on_board = "board" in first.facts
    return schema.Engine(
        name=spec.name,
        kind=spec.kind,
        precision=spec.precision,
        threads=first.facts.get("board_threads") or first.process.threads,
        samples_ms=samples,
        round_sizes=[len(one) for one in rounds],
        process_rounds=[len(each) for each in processes] if len(processes) > 1 else [],
        p50=p50,
        **{f"p{q}": stats.percentile(samples, q) for q in (90, 95, 99)},
        mean=float(np.mean(samples)),
        min=min(samples),
        max=max(samples),
        ci95=ci95,
        max_abs_error=max(run.agreement.max_abs_error for run in runs),
        relative_error=max(run.agreement.relative_error for run in runs),
        tolerance=first.tolerance,
        device=rules.device(spec),
        build_seconds=max(run.loaded.seconds for run in runs),
        engine_seconds=_most([run.facts.get("engine_build_seconds") for run in runs]),
        tuning_seconds=first.facts.get("tuning_seconds"),
        size_bytes=_most([run.loaded.size_bytes for run in runs]),
        peak_rss_bytes=_most(
            [
                run.facts.get("board_peak_rss_bytes" if on_board else "peak_rss_bytes")
                for run in runs
            ]
        ),
        gpu_memory_bytes=_most([run.facts.get("gpu_memory_bytes") for run in runs]),
        builds=builds,
        warm_up=vars(max((run.warm for run in runs), key=lambda warm: warm.spread)),
        other_cpu=float(np.mean(busy)) if busy else None,
        facts=first.facts,
    )


def _most(values: Sequence[float | None]) -> Any:
    return max((value for value in values if value is not None), default=None)
