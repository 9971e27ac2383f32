"""The overhead of tvmkd: its harness against a bare loop, its training loop against loops written
by hand, for classifiers and detectors.

The harness: an engine in its own process, stopped between its turns and with its lead-in calls,
against a script that only reads the clock before and after the same ``InferenceSession.run``. Both
use the same CPU and threads and are interleaved (ABBA); each pair of turns gives one ratio of
medians. The memory layout of a process changes its speed by a few per cent, so both are restarted
several times. The limit is two-sided: the harness may report neither more nor less.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import _common
import numpy as np

from tvmkd.base.wire import Child
from tvmkd.bench import machine
from tvmkd.bench.process import EngineProcess, environment
from tvmkd.bench.spec import EngineSpec

HARNESS_BAR, TRAINING_BAR = 1.02, 1.03
CHANNELS, SIZE, LAYERS = 32, 56, 4

# A hand-written loop. It is driven over the same pipe, so that it can be interleaved.
BARE = """
import os, sys, time
import numpy as np
os.sched_setaffinity(0, {cpus})
import onnxruntime as ort
from tvmkd.base import wire
options = ort.SessionOptions()
options.intra_op_num_threads = {threads}
session = ort.InferenceSession({onnx!r}, options, providers=["CPUExecutionProvider"])
with np.load({sample!r}) as saved:
    feeds = {{"x": saved["arr_0"]}}

def run(params, emit):
    times = []
    for _ in range(params["skip"]):
        session.run(None, feeds)
    for _ in range(params["count"]):
        start = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - start)
    return [value * 1e3 for value in times]

wire.serve({{"run": run}})
"""


def model(path: Path) -> Path:
    """A few convolutions with ReLU on 32 channels of 56 x 56, about a millisecond."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer in range(LAYERS):
        values = rng.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32) / 17
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(
            helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1])
        )
        last = f"r{layer}"
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [last]))
    shape = [1, CHANNELS, SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
        weights,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def harness_overhead(
    starts: int, rounds: int, seconds: float, threads: int, progress: Callable[[str], None]
) -> list[float]:
    """The harness's median divided by the bare loop's, one ratio per pair of turns."""
    cpus, ratios = machine.choose_cpus(threads), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx, sample = model(folder / "m.onnx"), folder / "000.npz"
        values = np.random.default_rng(0).standard_normal((1, CHANNELS, SIZE, SIZE))
        np.savez(sample, values.astype(np.float32))
        script = BARE.format(cpus=cpus, threads=threads, onnx=str(onnx), sample=str(sample))
        for start in range(starts):
            with ExitStack() as stack:
                spec = EngineSpec("harness", "onnxruntime", onnx)
                engine = stack.enter_context(EngineProcess(spec, threads, cpus))
                engine.prepare([sample], ["x"], folder / "out", timeout=120)
                bare = stack.enter_context(
                    Child([sys.executable, "-c", script], env=environment(threads))
                )
                call_s = engine.warm_up(limit_s=3).call_seconds
                count = max(20, round(seconds / call_s))
                skip = max(2, round(0.02 / call_s))
                bare.call("run", {"count": count, "skip": count}, timeout=120)
                for turn in range(rounds):
                    first_is_ours = (turn + start) % 2 == 0
                    medians = {}
                    for ours in (first_is_ours, not first_is_ours):
                        if ours:
                            samples = engine.time(count, limit_s=60)
                        else:
                            params = {"count": count, "skip": skip}
                            samples = bare.call("run", params, timeout=120)
                        medians[ours] = statistics.median(samples)
                    ratios.append(medians[True] / medians[False])
                mine = statistics.median(ratios[-rounds:])
                progress(
                    f"start {start + 1} of {starts}: {count} calls a turn of "
                    f"{call_s * 1e3:.3g} ms, ratio {mine:.4f}"
                )
    return ratios


def main() -> int:
    """Measures and prints; returns 1 if a ratio is outside its limit."""
    parser = _common.parser(__doc__ or "")
    parser.add_argument("--starts", type=int, default=6, help="times both processes are started")
    parser.add_argument("--rounds", type=int, default=10, help="pairs of turns for each start")
    parser.add_argument("--seconds", type=float, default=0.25, help="of calls in a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("harness", "training"), help="half of it")
    args = parser.parse_args()

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    results = []
    if args.only != "training":
        ratios = harness_overhead(args.starts, args.rounds, args.seconds, args.threads, tell)
        ratio = statistics.median(ratios)
        # A ratio that is too low is as wrong as one that is too high.
        off = max(ratio, 1 / ratio)
        note = f"the median ratio is {ratio:.4f}; the figure is its distance from 1, either way"
        results.append(
            _common.Result("harness over bare loop", off, HARNESS_BAR, "lower", ratios, note)
        )
    if args.only != "harness":
        from _distill_overhead import CONTESTS, training_overhead

        for task in CONTESTS:
            ratios = training_overhead(task, progress=tell)
            name = f"training over by hand, {task}"
            results.append(_common.from_ratios(name, ratios, TRAINING_BAR))
    return _common.finish(results, args.json)


if __name__ == "__main__":
    raise SystemExit(main())
