"""The measuring itself: starts every engine, warms it up, and times the engines in turns."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base.errors import TvmkdError
from tvmkd.bench import rules, schema
from tvmkd.bench.contestant import Disagrees, Run
from tvmkd.bench.options import CompareOptions
from tvmkd.bench.process import MOST_PADDING, EngineProcess
from tvmkd.bench.spec import EngineSpec
from tvmkd.timing.rounds import in_order

Progress = Callable[[str, dict[str, Any]], None]
"""Called between turns, never during one, with "check", "warm", "round" or "left_out" and data."""

MOST_SAMPLES = 20_000


@dataclass(frozen=True)
class Feed:
    """What every engine gets, and what it should answer.

    Attributes:
        paths: ``.npz`` files, one per sample.
        names: of the model's inputs.
        wanted: the reference's outputs: sample, output, array.
        folder: for the engines' outputs.
    """

    paths: Sequence[Path]
    names: Sequence[str]
    wanted: Sequence[Sequence[np.ndarray]]
    folder: Path


class Session:
    """Times the engines in `processes` starts, each with all engines in turns.

    Args:
        specs: the engines.
        options: of the comparison.
        rounds: of all processes together; each gets its share.
        threads: of each engine.
        cpus: to pin every engine to.
        feed: inputs and expected outputs.
        tell: called between turns.
        look: called after each round.

    Attributes:
        left_out: the engines that failed; they have no runs.
        processes: how often each engine was started, known after the first start.
        rounds: that were timed in all.
    """

    def __init__(
        self,
        specs: Sequence[EngineSpec],
        options: CompareOptions,
        rounds: int,
        threads: int,
        cpus: Sequence[int],
        feed: Feed,
        tell: Progress,
        look: Callable[[], None],
    ) -> None:
        self.left_out: list[schema.LeftOut] = []
        self.processes, self.rounds = 1, rounds
        self._specs, self._options, self._feed = list(specs), options, feed
        self._threads, self._cpus = threads, cpus
        self._tell, self._look = tell, look
        self._started = 0

    def measure(self) -> list[Run]:
        """Times everything; returns the runs of each engine together, in the order of the specs."""
        finished: list[Run] = []
        specs, start = self._specs, 0
        while start < self.processes and specs:
            with ExitStack() as stack:
                begin = time.monotonic()
                runs = self._start(specs, start, stack)
                if start == 0:
                    took = time.monotonic() - begin
                    self.processes = rules.processes(specs, self._options, took)
                    each = rules.rounds_of_each(self.rounds, self.processes)
                    self.rounds = each * self.processes
                runs = self._time(runs, start * each, each)
                finished += [run for run in runs if self._keeps_up(run, run.ask_facts)]
            start += 1
            if self.processes > 1:  # whoever failed once has no share in the other processes
                specs = [spec for spec in specs if len(_of(spec, finished)) == start]
        return [run for spec in specs for run in _of(spec, finished)]

    def _start(self, specs: Sequence[EngineSpec], start: int, stack: ExitStack) -> list[Run]:
        """Starts the processes of all engines, checks their outputs and warms them up."""
        runs: list[Run] = []
        for spec in specs:
            dice = random.Random(f"{self._options.seed} {spec.name} {start}")
            for build in rules.each_build(spec, self._options.builds):
                padding = dice.randrange(MOST_PADDING)
                process = EngineProcess(build, self._threads, self._cpus, padding=padding)
                run = Run(stack.enter_context(process), spec, self._options.tolerance, start)
                if self._keeps_up(run, functools.partial(self._enter, run)):
                    runs.append(run)
                elif self.left_out[-1].why == "missing":
                    break  # the other builds would report the same
        return runs

    def _enter(self, run: Run) -> None:
        feed, options = self._feed, self._options
        outputs = feed.folder / f"out-{self._started}"
        self._started += 1
        self._tell("check", {"engine": run.name})
        run.check(feed.paths, feed.names, outputs, options.prepare_timeout, feed.wanted)
        self._tell("warm", {"engine": run.name})
        run.warm = run.process.warm_up(options.warmup_seconds)

    def _time(self, runs: list[Run], first: int, rounds: int) -> list[Run]:
        """Times rounds; returns the runs that kept up."""
        for turn in range(rounds):
            names = [run.name for run in runs]
            self._tell("round", {"round": first + turn, "rounds": self.rounds, "engines": names})
            fallen = []
            for run in in_order(runs, turn):
                # The same number of calls for all builds, set by the slowest: otherwise fast builds
                # would weigh more.
                builds_s = [each.warm.call_seconds for each in runs if each.spec is run.spec]
                share = self.rounds * len(builds_s)
                most = max(5, MOST_SAMPLES // share)
                seconds = self._options.seconds / share
                step = functools.partial(run.turn, seconds, most, max(builds_s))
                if not self._keeps_up(run, step):
                    fallen.append(run)
            runs = [run for run in runs if run not in fallen]
            self._look()
        return runs

    def _keeps_up(self, run: Run, step: Callable[[], None]) -> bool:
        """Runs one step of an engine. If it fails, the engine is left out."""
        try:
            step()
        except TvmkdError as error:
            entering = run.start == 0 and not run.rounds
            if self._options.all_or_none and entering and not isinstance(error, Disagrees):
                raise type(error)(f"engine {run.name} cannot run: {error}") from None
            self.left_out.append(run.drop(error))
            self._tell("left_out", {"engine": run.name, **self.left_out[-1].model_dump()})
            return False
        return True


def _of(spec: EngineSpec, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.spec is spec]
