#!/usr/bin/env python
"""How the tuning rate scales with the number of boards, and the cost of a session per trial.

Scaling: the demo's student is tuned, with the same seed and number of trials, on 1, 2, 4 and 8 RPC
servers of this machine. Each server adds a fixed delay to each trial, so that two cores can
simulate many boards. The rate is measured from the eighth trial to the eighth before the last;
importing and lowering are excluded. The ratio is trials per minute on N boards divided by N times
those on one board.

Sessions: the same tiny kernel, run once per trial over loopback: wall time per trial of tvmkd's
runner (sessions stay open) against stock RPCRunner (one session per trial), alternating.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import Result, finish, from_ratios, parser
from bench_trials import export_student

from tvmkd import targets
from tvmkd.base import console, wire
from tvmkd.boards.fleet import running_fleet

SCALING_BAR = 0.9
OVERHEAD_BAR = 0.2
EDGE = 8  # trials that are ignored at the start and at the end
SHAPE = [64]


def rate(onnx: Path, target: dict[str, Any], boards: int, trials: int, delay: float) -> float:
    """Trials per minute on this number of boards."""
    from tvmkd.stacks.client import StackClient

    moments: list[float] = []

    def on_event(name: str, data: dict[str, Any]) -> None:
        if name == "trial":
            moments.append(time.monotonic())

    with (
        tempfile.TemporaryDirectory() as folder,
        running_fleet(boards, "bench", threads=1, delay=delay) as fleet,
        StackClient() as client,
    ):
        client.tune(
            onnx,
            target,
            Path(folder) / "records",
            trials=trials,
            tracker=fleet.address(),
            seed=1,
            on_event=on_event,
        )
    inner = moments[EDGE - 1 : len(moments) - EDGE]
    return 60.0 * (len(inner) - 1) / (inner[-1] - inner[0])


def scaling(options: Any) -> list[Result]:
    """The results for 2, 4 and 8 boards."""
    target = targets.load("host").to_dict()
    found: dict[int, list[float]] = {count: [] for count in (1, 2, 4, 8)}
    with tempfile.TemporaryDirectory() as folder:
        onnx = export_student(Path(folder) / "student.onnx")
        for number in range(options.rounds):
            for boards in (1, 8, 2, 4):
                found[boards].append(rate(onnx, target, boards, options.trials, options.delay))
                console.say(
                    f"round {number + 1}: {boards} boards, {found[boards][-1]:.1f} trials a minute"
                )
    return [
        from_ratios(
            f"trials a minute, {boards} boards over {boards} times one",
            [many / (boards * one) for many, one in zip(found[boards], found[1], strict=True)],
            SCALING_BAR,
            "higher",
            f"{statistics.median(found[boards]):.1f} against {statistics.median(found[1]):.1f} a "
            f"minute; {options.delay} s declared for each trial",
        )
        for boards in (2, 4, 8)
    ]


def ours(library: Path, tracker: dict[str, Any], count: int) -> float:
    """Seconds per trial of tvmkd's runner; each candidate is rejected after its first run."""
    from tvmkd.tuning.measurement import RunJob
    from tvmkd.tuning.runner import BoardRunner

    with BoardRunner(tracker) as runner:
        runner.open()
        jobs = [RunJob(library, [("float32", SHAPE)] * 2, lambda: 1e-15)] * count
        for future in [runner.submit(job) for job in jobs[:2]]:
            future.result()
        begin = time.monotonic()
        results = [future.result() for future in [runner.submit(job) for job in jobs]]
        seconds = (time.monotonic() - begin) / count
    assert all(result.seconds and len(result.seconds) == 1 for result in results), results
    return seconds


def serve_stock() -> None:
    """Child process with TVM: builds the kernel and runs it with stock RPCRunner."""
    from tvmkd.runtime.tvm_process import import_compiler

    import_compiler()

    def build(params: dict[str, Any], _emit: Any) -> None:
        import tvm
        from tvm import te

        a = te.placeholder(SHAPE, name="a")
        kernel = te.create_prim_func([a, te.compute(SHAPE, lambda i: a[i] + 1.0, name="b")])
        mod = tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})
        tvm.tirx.build(mod, target=tvm.target.Target(params["target"])).export_library(
            params["path"]
        )

    def run(params: dict[str, Any], _emit: Any) -> float:
        from tvm.s_tir import meta_schedule as ms

        tracker = params["tracker"]
        runner = ms.runner.RPCRunner(
            ms.runner.RPCConfig(
                tracker_host=tracker["host"],
                tracker_port=tracker["port"],
                tracker_key=tracker["key"],
                session_timeout_sec=60,
            ),
            ms.runner.EvaluatorConfig(number=1, repeat=1, min_repeat_ms=0),
        )
        info = ms.arg_info.TensorInfo("float32", SHAPE)
        one = ms.runner.RunnerInput(params["path"], "cpu", [info, info])
        for future in runner.run([one] * 2):
            future.result()
        begin = time.monotonic()
        results = [future.result() for future in runner.run([one] * params["count"])]
        seconds = (time.monotonic() - begin) / params["count"]
        errors = [result.error_msg for result in results if result.error_msg is not None]
        assert not errors, errors[0]
        return seconds

    wire.serve({"build": build, "run": run})


def sessions(options: Any) -> list[Result]:
    """The result for the cost of sessions."""
    ratios, mine, stock = [], [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        wire.Child([sys.executable, __file__, "--stock-child"]) as child,
        running_fleet(1, "bench", threads=1) as fleet,
    ):
        library = Path(folder) / "kernel.so"
        target = targets.load("host").to_dict()["tvm"]
        child.call("build", {"target": target, "path": str(library)}, timeout=300)
        params = {"path": str(library), "tracker": fleet.address(), "count": options.count}
        for _ in range(max(3, options.rounds)):
            mine.append(ours(library, fleet.address(), options.count))
            stock.append(float(child.call("run", params, timeout=600)))
            ratios.append(mine[-1] / stock[-1])
    note = (
        f"{statistics.median(mine) * 1e3:.1f} ms a trial against "
        f"{statistics.median(stock) * 1e3:.1f} ms"
    )
    name = "seconds a trial beyond the kernel, tvmkd over stock RPCRunner"
    return [from_ratios(name, ratios, OVERHEAD_BAR, note=note)]


def main() -> int:
    """Runs both."""
    made = parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=1, help="turns of each (default 1)")
    made.add_argument("--trials", type=int, default=64, help="for each number of boards")
    made.add_argument("--delay", type=float, default=3.0, help="seconds a trial (default 3)")
    made.add_argument("--count", type=int, default=40, help="trials for the cost of sessions")
    made.add_argument("--only", choices=["scaling", "sessions"], help="one of the two")
    made.add_argument("--stock-child", action="store_true", help="for this program itself")
    options = made.parse_args()
    if options.stock_child:
        serve_stock()
        return 0
    results: list[Result] = []
    if options.only != "scaling":
        results += sessions(options)
    if options.only != "sessions":
        results += scaling(options)
    return finish(results, options.json, delay_s=options.delay, trials=options.trials)


if __name__ == "__main__":
    sys.exit(main())
