#!/usr/bin/env python
"""Tuning trials per minute: tvmkd against stock ``tune_relax`` with LocalBuilder and RPCRunner.

Both tune the same network (the demo's depthwise student at 32x32, or --onnx) for the same target
on this machine, over a TVM tracker and an RPC server of the same kind with the same thread count,
one after the other, --rounds times. tvmkd tunes for a fixed time; stock is given 64 trials (its
default batch) and completes the batches that it has started, however long that takes. The rate is
the number of candidates that were built and measured, divided by the time from the start of the
tuner's process to the last of them. For both it includes importing TVM, lowering, starting the
workers and the search.

Stock's build timeout is raised from 30 s to 600 s: on machines where a worker's import takes longer
than 30 s, the default would allow no trial at all. Everything else is upstream's default.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import Result, finish, from_ratios, parser

from tvmkd import targets
from tvmkd.base import console, machine, wire
from tvmkd.base.errors import WorkerDied
from tvmkd.base.toolchain import linker_for
from tvmkd.boards.fleet import local_fleet

BAR = 10.0
STOCK_BUILD_TIMEOUT = 600.0
STOCK_TRIALS = 64  # upstream's num_trials_per_iter


def export_student(path: Path) -> Path:
    """The demo's student with its initial weights, as ONNX (weights do not change the time)."""
    code = (
        "import sys; from pathlib import Path; from tvmkd.models import build; "
        "from tvmkd.export.onnx import export; "
        "export(build('depthwise').eval(), Path(sys.argv[1]), (1, 1, 32, 32))"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, stdout=2)
    return path


def rate(moments: list[float]) -> float:
    """Trials per minute, from the time at which each trial ended, in seconds since the start."""
    return 60.0 * len(moments) / max(moments) if moments else 0.0


Fleet = Callable[[], contextlib.AbstractContextManager[dict[str, Any]]]


def here() -> contextlib.AbstractContextManager[dict[str, Any]]:
    """A tracker and a server on this machine, with every core."""
    return local_fleet(1, threads=machine.physical_cores())


def run_tvmkd(
    onnx: Path, target: dict[str, Any], seconds: float, fleet: Fleet = here, stack: str = "relax"
) -> list[float]:
    """Tunes with tvmkd for ``seconds``; returns when each trial ended."""
    from tvmkd.stacks.client import StackClient

    class Enough(Exception):
        pass

    moments: list[float] = []

    def on_event(name: str, data: dict[str, Any]) -> None:
        elapsed = time.monotonic() - started
        if elapsed > seconds:
            raise Enough
        if name == "trial" and data["status"] == "ok":
            moments.append(elapsed)

    with (
        tempfile.TemporaryDirectory() as folder,
        fleet() as tracker,
        StackClient(stack) as client,
        contextlib.suppress(Enough),
    ):
        started = time.monotonic()
        client.tune(
            onnx, target, Path(folder) / "r", trials=100_000, tracker=tracker, on_event=on_event
        )
    return moments


def run_stock(onnx: Path, target: dict[str, Any], limit: float, fleet: Fleet = here) -> list[float]:
    """Runs stock TVM's tuner once in a separate process; returns when each trial ended.

    Args:
        limit: seconds after which it is stopped; the trials measured until then count.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet() as tracker,
    ):
        log = Path(folder) / "moments"
        params = {
            "onnx": str(onnx),
            "target": target,
            "tracker": tracker,
            "folder": folder,
            "link": target["toolchain"]["triple"].split("-")[0] != os.uname().machine,
            "linker": linker_for(target["toolchain"]),
            "log": str(log),
        }
        started = time.time()
        with (
            contextlib.suppress(WorkerDied),  # cut off
            wire.Child([sys.executable, os.path.abspath(__file__), "--stock-child"]) as child,
        ):
            child.call("tune", params, timeout=limit)
        lines = log.read_text().split() if log.exists() else []
    return [float(line) - started for line in lines]


def serve_stock() -> None:
    """Child process of :func:`run_stock`: plain TVM, as in its documentation."""

    def tune(params: dict[str, Any], _emit: Any) -> None:
        import onnx
        import tvm
        from tvm import relax
        from tvm.relax.frontend.onnx import from_onnx
        from tvm.s_tir import meta_schedule as ms

        mod = from_onnx(onnx.load(params["onnx"]), keep_params_in_input=False)
        target = tvm.target.Target(params["target"]["tvm"])
        with target:
            mod = relax.get_pipeline("zero")(mod)
        log, tracker, linker = params["log"], params["tracker"], params["linker"]

        def linked(module: Any) -> str:
            # Upstream uploads a .tar, which the board must link with a compiler.
            import subprocess
            import tempfile

            folder = tempfile.mkdtemp()
            module.write_to_file(f"{folder}/kernel.o")
            subprocess.run([*linker, "-o", f"{folder}/kernel.so", f"{folder}/kernel.o"], check=True)
            return f"{folder}/kernel.so"

        def counted(session: Any, rt_mod: Any, device: Any, config: Any, arguments: Any) -> Any:
            # Runs in upstream's worker process, when a measurement has ended.
            from tvm.s_tir.meta_schedule.runner.rpc_runner import default_run_evaluator

            costs = default_run_evaluator(session, rt_mod, device, config, arguments)
            with open(log, "a") as file:
                file.write(f"{time.time()}\n")
            return costs

        config = ms.runner.RPCConfig(
            tracker_host=tracker["host"],
            tracker_port=tracker["port"],
            tracker_key=tracker["key"],
            session_timeout_sec=60,
        )
        ms.relax_integration.tune_relax(
            mod=mod,
            params={},
            target=target,
            work_dir=params["folder"],
            max_trials_global=STOCK_TRIALS,
            builder=ms.builder.LocalBuilder(
                timeout_sec=STOCK_BUILD_TIMEOUT, f_export=linked if params["link"] else None
            ),
            runner=ms.runner.RPCRunner(config, f_run_evaluator=counted),
        )

    wire.serve({"tune": tune})


def arguments(description: str) -> argparse.ArgumentParser:
    """The options of this benchmark and of the one for an emulated board."""
    made = parser(__doc__ or "")
    made.add_argument("--onnx", type=Path, help="tune this model instead of the demo's student")
    made.add_argument("--rounds", type=int, default=1, help="turns of each (default 1)")
    made.add_argument("--seconds", type=float, default=60, help="of tvmkd a turn (default 60)")
    made.add_argument(
        "--stock-limit", type=float, default=600, help="cut stock off after this (default 600 s)"
    )
    made.add_argument("--stock-child", action="store_true", help="for this program itself")
    return made


def main() -> int:
    """Runs both alternately and compares."""
    options = arguments(__doc__ or "").parse_args()
    if options.stock_child:
        serve_stock()
        return 0
    return compare(options, targets.load("host").to_dict(), here, BAR)


def compare(options: Any, target: dict[str, Any], fleet: Fleet, bar: float) -> int:
    """Runs both alternately on boards of ``fleet``; returns the exit code."""
    ours: list[float] = []
    stock: list[float] = []
    firsts: list[float | None] = []
    with tempfile.TemporaryDirectory() as folder:
        onnx = options.onnx or export_student(Path(folder) / "student.onnx")
        for number in range(options.rounds):
            moments = run_tvmkd(onnx, target, options.seconds, fleet)
            ours.append(rate(moments))
            console.say(f"round {number + 1}: tvmkd {len(moments)} trials, {ours[-1]:.0f} a minute")
            moments = run_stock(onnx, target, options.stock_limit, fleet)
            stock.append(rate(moments))
            firsts.append(min(moments, default=None))
            console.say(
                f"round {number + 1}: stock {len(moments)} trials, {stock[-1]:.1f} a minute"
            )
    results: list[Result] = []
    if all(stock):
        ratios = [a / b for a, b in zip(ours, stock, strict=True)]
        results.append(
            from_ratios(
                "trials a minute, tvmkd over stock tune_relax",
                ratios,
                bar,
                "higher",
                f"stock's build timeout raised to {STOCK_BUILD_TIMEOUT:.0f} s (default 30 s)",
            )
        )
    else:
        console.warn(f"stock made no trial in {options.stock_limit:.0f} s: raise --stock-limit")
    return finish(
        results,
        options.json,
        tvmkd_trials_a_minute=ours,
        stock_trials_a_minute=stock,
        stock_first_trial_after_s=firsts,
        stock_trials=STOCK_TRIALS,
        stock_build_timeout_s=STOCK_BUILD_TIMEOUT,
        load_average=os.getloadavg(),
        target=target,
    )


if __name__ == "__main__":
    sys.exit(main())
