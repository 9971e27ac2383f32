#!/usr/bin/env python
"""Relay against Relax and ONNX Runtime: the demo's student and four torchvision models.

Each model is built by both stacks for x86-64-v3 with the records that ship with tvmkd (no trial is
made here), batch 1, FP32. Each of the three engines runs in its own process, on the same CPUs with
the same number of threads. Their outputs are compared first, then they are timed interleaved; the
ratios are those of the medians. A table for each model lists the kernels of the Relay artifact (see
bench_latency.py).

Then trials per minute on the student: tvmkd's tuning of the relay stack against upstream's
``auto_scheduler.TaskScheduler`` with LocalBuilder and RPCRunner, on the same kind of tracker and
server, one after the other (see bench_trials.py). Upstream's search keeps its defaults (population
2048, four generations); its build timeout is raised, since a worker's import takes longer than the
default on slow machines. The RPC client of hhb-tvm 3.2.3 is patched in upstream's workers as in
ours: without the patch it cannot load a module on a server, and measures nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bench_trials
from _common import Result, finish, from_ratios, parser
from _kernels import geometric_mean, show, table
from _networks import NETWORKS, onnx_file

from tvmkd import targets
from tvmkd.base import console, machine, stack_registry, wire
from tvmkd.base.errors import WorkerDied
from tvmkd.bench import CompareOptions, EngineSpec, compare, roofline
from tvmkd.boards.fleet import local_fleet
from tvmkd.runtime import interpreters
from tvmkd.stacks.compile import build

BAR_PEER, BAR_TRIALS = 1.2, 3.0
STOCK_TRIALS = 64  # upstream's num_measures_per_round
STOCK_BUILD_TIMEOUT = 300
ENGINES = ("onnxruntime", "tvm:relax", "tvm:relay")


def measure(name: str, onnx: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Builds both artifacts and times all engines: medians in ms, ratios of Relay to the others."""
    target = targets.load("x86-64-v3")
    specs, shares = [EngineSpec("onnxruntime", "onnxruntime", onnx)], {}
    for stack in stack_registry.names():
        out = folder / f"{name}-{stack}"
        mine = [path for path in options.records if path.name == stack]
        manifest = build(onnx, target, mine, out, stack=stack)
        shares[stack] = manifest["coverage"]["tuned_share"]
        specs.append(EngineSpec(f"tvm:{stack}", f"tvm:{stack}", out))
    method = CompareOptions(threads=options.threads, seconds=options.seconds)
    found = compare(specs, onnx, options=method)
    medians = {engine.name: engine.p50 for engine in found.engines}
    if set(medians) != set(ENGINES):
        sys.exit(f"{name}: {', '.join(f'{e.name}: {e.reason}' for e in found.left_out)}")
    relay = medians["tvm:relay"]
    return {
        "name": name,
        "ms": medians,
        "over_onnxruntime": relay / medians["onnxruntime"],
        "over_relax": relay / medians["tvm:relax"],
        "tuned_share": shares,
        "verdict": found.verdict.sentence,
    }


def latency(options: argparse.Namespace) -> tuple[list[Result], dict[str, Any]]:
    """The results of all models and their kernel tables."""
    peak = roofline.measure(1).gflops
    rows, kernels = [], {}
    with tempfile.TemporaryDirectory(prefix="tvmkd-stacks-") as work:
        folder = Path(work)
        for name in options.models:
            onnx = onnx_file(name, folder)
            row = measure(name, onnx, folder, options)
            rows.append(row)
            times = ", ".join(f"{engine} {row['ms'][engine]:.3f} ms" for engine in ENGINES)
            print(
                f"{name}: {times}; relay over onnxruntime {row['over_onnxruntime']:.3f}, over "
                f"relax {row['over_relax']:.3f}; tuned {row['tuned_share']['relay']:.0%}"
            )
            if not options.no_kernels:
                kernels[name] = table(onnx, folder / f"{name}-relay", options.threads, peak)
                show(kernels[name])
            print(flush=True)
    over_peer = [row["over_onnxruntime"] for row in rows]
    over_relax = [row["over_relax"] for row in rows]
    results = [
        Result("geometric mean, relay over onnxruntime", geometric_mean(over_peer), BAR_PEER),
        Result(
            "geometric mean, relay over relax",
            geometric_mean(over_relax),
            float("inf"),
            note="no bar: what the choice between the two stacks costs",
        ),
    ]
    return results, {"models": rows, "kernels": kernels, "core_peak_gflops": peak}


def run_stock(onnx: Path, target: dict[str, Any], limit: float) -> list[float]:
    """Runs upstream's tuner once in a separate process; returns when each trial ended."""
    runs = interpreters.find("relay")
    argv = [runs.python, os.path.abspath(__file__), "--stock-child"]
    with (
        tempfile.TemporaryDirectory() as folder,
        local_fleet(1, threads=machine.physical_cores(), runs=runs) as tracker,
    ):
        log = Path(folder) / "moments"
        params = {"onnx": str(onnx), "target": target, "tracker": tracker, "log": str(log)}
        started = time.time()
        with (
            contextlib.suppress(WorkerDied),  # cut off
            wire.Child(argv, env=runs.environment()) as child,
        ):
            child.call("tune", params, timeout=limit)
        lines = log.read_text().split() if log.exists() else []
    return [float(line) - started for line in lines]


def run_mended(*args: Any) -> Any:
    """Upstream's measurement in a process of upstream's pool, with the patched RPC client."""
    from tvm.auto_scheduler import measure

    from tvmkd.runtime.relay_shims import load_module_with_one_argument

    load_module_with_one_argument()
    return measure._rpc_run_worker(*args)


def serve_stock() -> None:
    """Child process of :func:`run_stock`: upstream's tuner as in its documentation."""

    def tune(params: dict[str, Any], _emit: Any) -> None:
        from tvmkd.tuning import tuner_backend

        tuner_backend.of("relay").import_compiler()
        from tvm import auto_scheduler

        from tvmkd.stacks.relay import importer as relay_import
        from tvmkd.stacks.relay import tasks as relay_tasks

        model = relay_import.read(params["onnx"])
        tasks = relay_tasks.tasks_of(relay_import.channels_last(model.mod), params["target"])
        auto_scheduler.measure._rpc_run_worker = run_mended
        log, tracker = params["log"], params["tracker"]

        class Moments(auto_scheduler.measure.PythonBasedMeasureCallback):  # type: ignore[misc]
            def callback(self, _policy: Any, _inputs: Any, results: Any) -> None:
                with open(log, "a") as file:
                    for result in results:
                        if result.error_no == 0:
                            file.write(f"{time.time()}\n")

        runner = auto_scheduler.RPCRunner(
            tracker["key"], tracker["host"], tracker["port"], timeout=60, n_parallel=1
        )
        auto_scheduler.TaskScheduler(
            [task.mod for task in tasks], [task.weight for task in tasks]
        ).tune(
            auto_scheduler.TuningOptions(
                num_measure_trials=STOCK_TRIALS * len(tasks),
                builder=auto_scheduler.LocalBuilder(timeout=STOCK_BUILD_TIMEOUT),
                runner=runner,
                measure_callbacks=[Moments()],
                verbose=0,
            )
        )

    wire.serve({"tune": tune})


def trials(options: argparse.Namespace) -> tuple[list[Result], dict[str, Any]]:
    """The result for trials per minute."""
    target = targets.load("host").to_dict()
    ours: list[float] = []
    stock: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        onnx = onnx_file("student", Path(folder))
        for number in range(options.rounds):
            moments = bench_trials.run_tvmkd(
                onnx, target, options.trial_seconds, relay_fleet, stack="relay"
            )
            ours.append(bench_trials.rate(moments))
            console.say(f"round {number + 1}: tvmkd {len(moments)} trials, {ours[-1]:.0f} a minute")
            moments = run_stock(onnx, target, options.stock_limit)
            stock.append(bench_trials.rate(moments))
            console.say(
                f"round {number + 1}: stock {len(moments)} trials, {stock[-1]:.1f} a minute"
            )
    more = {"tvmkd_trials_a_minute": ours, "stock_trials_a_minute": stock}
    if not all(stock):
        console.warn(f"stock made no trial in {options.stock_limit:.0f} s: raise --stock-limit")
        return [], more
    ratios = [a / b for a, b in zip(ours, stock, strict=True)]
    note = f"stock's build timeout raised to {STOCK_BUILD_TIMEOUT} s; cut off after a while"
    name = "trials a minute, tvmkd over stock AutoScheduler"
    return [from_ratios(name, ratios, BAR_TRIALS, "higher", note)], more


def relay_fleet() -> contextlib.AbstractContextManager[dict[str, Any]]:
    """A tracker and a server of the relay stack on this machine, with every core."""
    return local_fleet(1, threads=machine.physical_cores(), runs=interpreters.find("relay"))


def main() -> int:
    """Runs both parts."""
    made = parser(__doc__ or "")
    made.add_argument("--threads", type=int, default=machine.physical_cores())
    made.add_argument("--seconds", type=float, default=6.0, help="a model and engine")
    made.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    made.add_argument(
        "--records", type=Path, nargs="*", default=[], help="more: folders named relax or relay"
    )
    made.add_argument("--no-kernels", action="store_true", help="leave the tables out")
    made.add_argument("--only", choices=["latency", "trials"], help="one of the two")
    made.add_argument("--rounds", type=int, default=1, help="turns of the trials (default 1)")
    made.add_argument("--trial-seconds", type=float, default=120, help="of tvmkd a turn")
    made.add_argument("--stock-limit", type=float, default=600, help="cut stock off after this")
    made.add_argument("--stock-child", action="store_true", help="for this program itself")
    options = made.parse_args()
    if options.stock_child:
        serve_stock()
        return 0
    results: list[Result] = []
    facts: dict[str, Any] = {}
    for name, part in (("latency", latency), ("trials", trials)):
        if options.only in (None, name):
            found, more = part(options)
            results += found
            facts.update(more)
    return finish(results, options.json, **facts)


if __name__ == "__main__":
    sys.exit(main())
