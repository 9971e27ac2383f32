"""How well the times of kernels that nobody measured are interpolated from those of others.

A share of a table's kernels is measured, the rest is predicted, and compared with what was measured
of it. Beside it are two predictors that see the same kernels: multiply-accumulates, and the cycles
that the cost model of the schedules expects (bytes where it knows a kernel not), each times the
median ratio.

Then kernels are measured the most useful first, or at random, and the networks' kernels are added
up: some measured and some interpolated, against all of them measured.

As a program it writes the kernels of the shipped tuning records of a target, with their features
and best times, as JSON lines: ``python benchmarks/_search_kernels.py x86-64-v4``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from _common import Result

from tvmkd import targets
from tvmkd.search.latency.interpolation import KernelModel
from tvmkd.search.latency.prediction import Kernel, KernelTime
from tvmkd.search.latency.roofline import BYTES
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.latency.usefulness import most_useful
from tvmkd.tuning.records import holds_records

SHARES = (0.25, 0.5, 0.75)
REPEATS = 5
"""Random choices of the kernels that are measured."""
BAR = 0.1
SHIPPED = "x86-64-v4"
"""The target with the most records that were measured."""
METHODS = ("interpolated", "cost model", "MACs")


def results(table: Path) -> list[Result]:
    """What there is to say of a latency table, or if there is none of the shipped records."""
    target = targets.load("host")
    if not holds_records(table):
        return interpolation(*shipped(SHIPPED), "shipped records")
    with LatencyTable(table, target) as opened:
        known = {
            key: (kernel, seconds)
            for key, kernel in opened.folder.kernels.items()
            if (seconds := opened.measured(key)) is not None
        }
        networks = [
            each.calls for each in opened.folder.networks if known.keys() >= each.calls.keys()
        ]
    kernels, times = zip(*known.values(), strict=True)
    return [
        *interpolation(kernels, times, "table"),
        *(orders(kernels, times, networks, "table") if networks else ()),
    ]


def interpolation(kernels: Sequence[Kernel], seconds: Sequence[float], of: str) -> list[Result]:
    """The errors of interpolated kernels, with `SHARES` of them measured.

    Args:
        kernels: distinct ones.
        seconds: of each, measured.
        of: what these kernels are, for the results' names.
    """
    found = {share: leave_out(kernels, np.asarray(seconds), share) for share in SHARES}
    results = []
    for share, facts in found.items():
        name = f"{of}: error of kernels, {share:.0%} measured"
        for method in METHODS:
            numbers = facts[method]["all"]
            results.append(
                Result(
                    f"{name}: {method}",
                    numbers["median"],
                    BAR if method == METHODS[0] else None,
                    note=f"90 % of the kernels within {numbers['p90']:.0%}",
                    details={"kernels": len(kernels), "kinds": facts[method]},
                )
            )
        inside = facts["in_interval"]
        results.append(Result(f"{name}: in the interval for 90 %", inside, None, "higher"))
    return results


def leave_out(
    kernels: Sequence[Kernel], seconds: np.ndarray, share: float, repeats: int = REPEATS
) -> dict[str, Any]:
    """Relative errors of kernels whose times were withheld.

    Returns:
        for each of `METHODS`, ``median`` and ``p90`` by kind, and of ``all``; ``in_interval``: the
        share of kernels within the interval that is to hold 90 %.
    """
    errors: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    inside: list[np.ndarray] = []
    kinds: list[str] = []
    for repeat in range(repeats):
        order = np.random.default_rng(repeat).permutation(len(kernels))
        count = max(1, round(share * len(kernels)))
        shown, rest = ([kernels[n] for n in part] for part in (order[:count], order[count:]))
        known, truth = seconds[order[:count]], seconds[order[count:]]
        found = KernelModel().fit(shown, list(known)).predict_all(rest)
        guess, error = (np.array(each) for each in zip(*found, strict=True))
        inside.append(np.abs(np.log(guess / truth)) <= 1.645 * error)
        others = [scaled(shown, known, rest, _expected), scaled(shown, known, rest, _operations)]
        for method, predicted in zip(METHODS, [guess, *others], strict=True):
            errors[method].append(np.abs(predicted / truth - 1))
        kinds += [kernel.kind for kernel in rest]
    facts: dict[str, Any] = {"in_interval": float(np.mean(np.concatenate(inside)))}
    for method, parts in errors.items():
        whole, of = np.concatenate(parts), np.array(kinds)
        chosen = {"all": whole} | {kind: whole[of == kind] for kind in sorted(set(kinds))}
        facts[method] = {
            name: {
                "median": float(np.median(each)),
                "p90": float(np.quantile(each, 0.9)),
                "kernels": len(each) // repeats,
            }
            for name, each in chosen.items()
        }
    return facts


Network = Mapping[str, int]
"""How often it calls each kernel, by the kernels' keys."""


def orders(
    kernels: Sequence[Kernel], seconds: Sequence[float], networks: Sequence[Network], of: str
) -> list[Result]:
    """The errors of networks with `SHARES` of the kernels measured, by the order of measuring.

    A network's time is here the sum of its kernels' times; all kernels that it calls are given.
    """
    known = {k.key: (k, s) for k, s in zip(kernels, seconds, strict=True)}
    results = []
    for share in (FIRST, *SHARES):
        count = round(share * len(kernels))
        ways = {
            "at random": _at_random(known, count),
            "most useful first": _useful_first(known, networks, count),
        }
        for way, measured in ways.items():
            times = _times(known, measured)
            off = np.array([_off(known, times, network) for network in networks])
            results.append(
                Result(
                    f"{of}: networks within 5 %, {share:.0%} of kernels measured {way}",
                    float(np.mean(off < 0.05)), None, "higher",
                    note=f"median error {np.median(off):.1%}, networks: {len(networks)}",
                )
            )  # fmt: skip
    return results


FIRST = 0.1
"""The share of the kernels that is measured at random before any is known to be useful."""
STEP = 50
"""Kernels that are measured between two looks at which are useful."""
Known = Mapping[str, tuple[Kernel, float]]


def _at_random(known: Known, count: int) -> set[str]:
    order = np.random.default_rng(0).permutation(len(known))
    keys = list(known)
    return {keys[number] for number in order[:count]}


def _useful_first(known: Known, networks: Sequence[Network], count: int) -> set[str]:
    measured = _at_random(known, min(count, round(FIRST / 2 * len(known))))
    while len(measured) < count:
        times = _times(known, measured)
        parts = [
            [
                replace(times[key], kernel=replace(times[key].kernel, calls=calls))
                for key, calls in network.items()
            ]
            for network in networks
        ]
        chosen = most_useful(parts, count=min(STEP, count - len(measured)))
        if not chosen:
            break
        measured |= set(chosen)
    return measured


def _times(known: Known, measured: set[str]) -> dict[str, KernelTime]:
    pairs = [known[key] for key in sorted(measured)]
    model = KernelModel().fit([kernel for kernel, _ in pairs], [each for _, each in pairs])
    rest = [kernel for key, (kernel, _) in known.items() if key not in measured]
    found = {kernel.key: KernelTime(kernel, each, "measured") for kernel, each in pairs}
    for kernel, (each, error) in zip(rest, model.predict_all(rest), strict=True):
        found[kernel.key] = KernelTime(kernel, each, "interpolated", error)
    return found


def _off(known: Known, times: Mapping[str, KernelTime], network: Network) -> float:
    truth = sum(known[key][1] * calls for key, calls in network.items())
    found = sum(times[key].seconds * calls for key, calls in network.items())
    return abs(found / truth - 1)


Size = Callable[[Kernel], tuple[str, float]]


def scaled(
    shown: Sequence[Kernel], seconds: np.ndarray, rest: Sequence[Kernel], size: Size
) -> np.ndarray:
    """Times in proportion to one number of each kernel: by the median ratio of those shown."""
    ratios: dict[str, list[float]] = {}
    for kernel, each in zip(shown, seconds, strict=True):
        what, number = size(kernel)
        ratios.setdefault(what, []).append(each / number)
    every = [ratio for found in ratios.values() for ratio in found]
    return np.array(
        [
            number * float(np.median(ratios.get(what, every)))
            for what, number in (size(kernel) for kernel in rest)
        ]
    )


def _operations(kernel: Kernel) -> tuple[str, float]:
    return "flop", max(kernel.flop, 1.0)


def _expected(kernel: Kernel) -> tuple[str, float]:
    cycles = kernel.features.get("expected")
    if cycles:
        return "cycles", cycles
    return "bytes", sum(kernel.features.get(name, 0.0) for name in BYTES) or 1.0


def shipped(target: str) -> tuple[list[Kernel], list[float]]:
    """The kernels of the shipped records of a target, and their best times."""
    command = [sys.executable, os.fspath(Path(__file__)), target]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [json.loads(line) for line in text.splitlines()]
    return [Kernel(**row["kernel"]) for row in rows], [row["seconds"] for row in rows]


def _write_shipped(name: str) -> None:
    """In a process with TVM: writes the kernels of `shipped` to the standard output."""
    from tvmkd.runtime.tvm_process import import_compiler

    import_compiler()
    from tvm.s_tir.analysis import estimate_tir_flops
    from tvm.s_tir.meta_schedule.database import Workload

    from tvmkd.base import resources
    from tvmkd.stacks.relax.kernel_features import features
    from tvmkd.stacks.relax.stack import tvm_target
    from tvmkd.stacks.relax.tasks import kind_of
    from tvmkd.stacks.relax.templates import template_for
    from tvmkd.stacks.relax.templates.cpu import Cpu
    from tvmkd.tuning import records
    from tvmkd.tuning.space import Task

    spec = targets.load(name).to_dict()
    target, cpu = tvm_target(spec), Cpu.of(spec)
    for key, found in records.best([resources.folder("schedules") / "relax" / name]).items():
        mod = Workload.from_json(found[0].workload).mod
        flop = float(estimate_tir_flops(mod))
        task = Task(key, key, mod, target, 1, flop, kind_of(mod), template_for(mod, cpu))
        kernel = Kernel(key, key, task.kind, 1, flop, features(task, cpu))
        print(json.dumps({"kernel": asdict(kernel), "seconds": found[0].seconds}))


if __name__ == "__main__":
    _write_shipped(sys.argv[1])
