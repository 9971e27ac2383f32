#!/usr/bin/env python
"""Whether the score that stands for a board's time ranks kernels as this machine's clock does.

    python benchmarks/bench_score.py --kernels 40 --json /tmp/score.json

Schedules for boards that are not here are chosen by a score (`_score`): instructions under QEMU,
llvm-mca's cycles, and lines that two caches miss. Here the same is reckoned for x86-64 kernels,
which are timed too: kernels drawn at random as for the cost model (`make_cost_model`), several
schedules of each, from the best by the cost model to arbitrary ones, on one thread. The score knows
nothing of the times.

Bar: a Spearman correlation of 0.8 between score and time, over all schedules of all kernels, and in
the mean over kernels between the schedules of one, which is what a choice rests on. The loss is how
much longer the schedule with the best score takes than the fastest one that was tried.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ["TVM_NUM_THREADS"] = "1"

import _mca
import _qemu
import numpy as np
from _common import Result, finish, parser
from _kernels import geometric_mean
from _score import MACHINES, Scorer
from make_cost_model import LEAST_WORK, MOST_WORK, _work, kernel

from tvmkd import targets
from tvmkd.base.errors import MissingError
from tvmkd.base.random_inputs import random_sample

BAR = 0.8
EACH = 8
"""Schedules of a kernel."""


def spearman(first: list[float], second: list[float]) -> float:
    """The correlation of ranks; the mean rank for equal values."""
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def members(mod: Any, cpu: Any, rng: np.random.Generator) -> list[Any]:
    """Schedules of a kernel without threads: half of them the first by the cost model."""
    from tvmkd.stacks.relax.templates import template_for

    space = template_for(mod, cpu)
    if space is None or space.size is None:
        return []
    first = list(range(min(EACH // 2, space.size)))
    rest = rng.permutation(np.arange(len(first), space.size))[: EACH - len(first)]
    found = (space.member(int(number)) for number in [*first, *rest])
    return [member for member in found if member is not None]


def timed(library: Any, arguments: list[Any]) -> float:
    """Seconds of one run, the least of several."""
    import tvm

    once = min(library.time_evaluator("main", tvm.cpu(), number=1, repeat=2)(*arguments).results)
    number = max(1, int(1e-3 / once))
    timer = library.time_evaluator("main", tvm.cpu(), number=number, repeat=15)
    return float(min(timer(*arguments).results))


def collect(count: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Times and scores of the schedules of ``count`` kernels."""
    from tvmkd.runtime.tvm_process import import_compiler

    tvm = import_compiler()
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    from tvmkd.stacks.relax import vector_math
    from tvmkd.stacks.relax.stack import tvm_target
    from tvmkd.stacks.relax.stack_arrays import on_stack
    from tvmkd.stacks.relax.templates.cpu import Cpu

    vector_math.install()
    spec = targets.load("x86-64-v3").to_dict()
    target, cpu, rng = tvm_target(spec), Cpu.of(spec), np.random.default_rng(seed)
    cpu = type(cpu)(**{**asdict(cpu), "threads": 1})
    found: list[dict[str, Any]] = []
    with Scorer(MACHINES["x86-64-v3"], folder) as scorer:
        number = 0
        while number < count:
            category, mod = kernel(rng, cpu.lanes)
            if not LEAST_WORK < _work(mod) < MOST_WORK / 4:
                continue
            number += 1
            infos = ArgInfo.from_prim_func(mod["main"])
            shapes = [[int(size) for size in info.shape] for info in infos]
            specs = [
                {"name": str(n), "shape": shape, "dtype": "float32"}
                for n, shape in enumerate(shapes)
            ]
            arguments = [tvm.runtime.tensor(v) for v in random_sample(rng, specs).values()]
            for member in members(mod, cpu, rng):
                built = tvm.tirx.build(on_stack(member.schedule.mod), target=target)
                path = folder / f"{len(found)}.so"
                built.export_library(str(path))
                score = scorer.score(path, [("float32", shape) for shape in shapes])
                if score is None:
                    continue
                seconds = timed(built, arguments)
                found.append(
                    {"kernel": number, "category": category, "timed": seconds, **asdict(score)}
                )
                path.unlink()
            print(f"{number} of {count}: {category}, {len(found)} schedules", flush=True)
    return found


def results(rows: list[dict[str, Any]]) -> list[Result]:
    """The correlations, and what the choice by score loses."""
    by_kernel: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_kernel.setdefault(row["kernel"], []).append(row)
    groups = [group for group in by_kernel.values() if len(group) >= 4]

    def within(name: str) -> list[float]:
        return [spearman([r[name] for r in g], [r["timed"] for r in g]) for g in groups]

    found = [
        Result(
            "Spearman over all: score and time",
            spearman([r["cycles"] for r in rows], [r["timed"] for r in rows]),
            BAR,
            "higher",
        ),
        Result(
            "Spearman within a kernel (mean): score and time",
            statistics.fmean(within("cycles")),
            BAR,
            "higher",
            ratios=within("cycles"),
        ),
    ]
    found += [
        Result(f"the same: {name} alone", statistics.fmean(within(name)), None, "higher")
        for name in ("instructions", "mca", "l1_misses")
    ]
    losses = [
        min(g, key=lambda r: r["cycles"])["timed"] / min(r["timed"] for r in g) for g in groups
    ]
    spread = [max(r["timed"] for r in g) / min(r["timed"] for r in g) for g in groups]
    found.append(
        Result(
            "time of the best score over the fastest (geometric mean)",
            geometric_mean(losses),
            None,
            ratios=losses,
            note=f"the slowest schedule over the fastest: {geometric_mean(spread):.2f}",
        )
    )
    return found


def main() -> int:
    options: argparse.ArgumentParser = parser(__doc__ or "")
    options.add_argument("--kernels", type=int, default=40)
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()
    for reason in (_qemu.why_not("x86_64"), _mca.why_not()):
        if reason is not None:
            print(reason, file=sys.stderr)
            return MissingError.exit_code
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-score-")))
        rows = collect(args.kernels, args.seed, folder)
    return finish(results(rows), args.json, rows=rows)


if __name__ == "__main__":
    sys.exit(main())
