#!/usr/bin/env python
"""Networks that nobody tuned by hand: TVM against the engines that users would take instead.

    python benchmarks/bench_suite.py --work /tmp/suite --json /tmp/suite/result.json
    python benchmarks/bench_suite.py --networks squeezenet1_1 mine.onnx --tune-seconds 0 --quick

The networks are edge12 (`_networks.EDGE12`: twelve classifiers and a detector) or any ONNX files
with fixed sizes; batch 1, FP32. The peers are ONNX Runtime and the engines of other projects that
are installed (``pip install 'tvmkd[benchmark]'``). TVM runs three times:

- ``tvm, no trial``: built without records, so that the compiler's first guess is measured;
- ``tvm, tuned``: with records of --tune-seconds of tuning on this machine from nothing; the time
  includes starting TVM, lowering and the search;
- ``tvm, shipped``: with the records that ship for the target.

All engines of a network are compared in one alternating run, with the same threads on the same
CPUs, after their outputs were checked. Ratios are those of the medians. A peer that fails or whose
outputs are wrong is left out with the reason; TVM is not: without it, a ratio is infinite.

Bars: without a trial 1.15 of ONNX Runtime (geometric mean), none above 1.5; tuned 0.9 of each
network's best peer, none above 1.1; shipped 0.85 of the best peer; 300 trials a minute on every
network (two cores; ``bench_trials.py`` compares the rate with stock TVM's); the first guess reaches
0.9 of the tuned kernels' speed, and the best of 16 trials a kernel 0.95 (geometric means). A table
lists kernels by kind, with the time of the same operators in ONNX Runtime's profile.

In WORK, ONNX files are reused; with --tune-seconds 0 so are the records of an earlier run.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _common import Result, finish, parser
from _kernels import by_kind, geometric_mean, show_kinds, table
from _networks import EDGE12, onnx_file

from tvmkd import targets
from tvmkd.base import machine
from tvmkd.base.engine_registry import ENGINES, TVM
from tvmkd.base.errors import TvmkdError
from tvmkd.bench import CompareOptions, EngineSpec, compare, roofline, schema
from tvmkd.bench.engines import engine_class
from tvmkd.stacks.compile import build, shipped_records, tune
from tvmkd.tuning.records import holds_records, trials
from tvmkd.tuning.session import read_info

PEER = "onnxruntime"
FIRST, TUNED, SHIPPED = "tvm, no trial", "tvm, tuned", "tvm, shipped"
BAR_FIRST, BAR_FIRST_EACH = 1.15, 1.5
BAR_TUNED, BAR_TUNED_EACH = 0.9, 1.1
BAR_SHIPPED = 0.85
BAR_TRIALS = 300.0
BAR_GUESS, ENOUGH, BAR_ENOUGH = 0.9, 16, 0.95


@dataclass
class Row:
    """One network.

    Attributes:
        engines: the results of each engine that ran.
        left_out: the reason for each that did not.
        tuning: of `tuned`.
        kernels: rows of `_kernels.table` for the artifact that was tuned best.
        build_seconds: of each artifact.
    """

    name: str
    engines: dict[str, schema.Engine] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)
    kernels: list[dict[str, Any]] = field(default_factory=list)
    build_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def best_peer(self) -> str:
        """The peer with the smallest median."""
        peers = {name: each for name, each in self.engines.items() if name in ENGINES}
        return min(peers, key=lambda name: peers[name].p50)

    def ratio(self, ours: str, peer: str) -> float:
        """The ratio of the medians; infinite if TVM was left out."""
        if ours not in self.engines:
            return float("inf")
        return self.engines[ours].p50 / self.engines[peer].p50

    def of_rounds(self, ours: str, peer: str) -> list[float]:
        """The ratio of the medians of each round."""
        both = (self.engines[name].rounds() for name in (ours, peer) if name in self.engines)
        medians = [[statistics.median(samples) for samples in rounds] for rounds in both]
        return [] if len(medians) < 2 else [a / b for a, b in zip(*medians, strict=False)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        wanted = {"p50", "p90", "p99", "ci95", "relative_error", "build_seconds", "size_bytes"}
        return {
            "name": self.name,
            "best_peer": self.best_peer,
            "engines": {
                name: {**each.model_dump(include=wanted), "peak_rss_bytes": each.memory()}
                for name, each in self.engines.items()
            },
            "left_out": self.left_out,
            "tuning": self.tuning,
            "build_seconds": self.build_seconds,
            "kernels": self.kernels,
        }


def peers() -> tuple[list[str], list[str]]:
    """The CPU engines that read ONNX files here, and what the others lack."""
    names = [
        name
        for name in ENGINES
        if engine_class(name).file == "onnx" and engine_class(name).device == "CPU"
    ]
    lacks = {name: engine_class(name).lacks(name) for name in names}
    return [name for name in names if not lacks[name]], [text for text in lacks.values() if text]


def tuned(onnx: Path, target: targets.Target, folder: Path, seconds: float) -> dict[str, Any]:
    """Tunes from nothing for ``seconds``: the number of good and bad trials, and the rate.

    The rate, in measured kernels a minute, is up to the last of them, from the call on.
    """
    shutil.rmtree(folder, ignore_errors=True)
    moments: list[float] = []
    failed = 0

    class Enough(Exception):
        pass

    def on_event(name: str, data: dict[str, Any]) -> None:
        nonlocal failed
        if name == "trial":
            if data["status"] == "ok":
                moments.append(time.monotonic() - started)
            else:
                failed += 1
        if time.monotonic() - started > seconds:
            raise Enough

    started = time.monotonic()
    with contextlib.suppress(Enough):
        tune(onnx, target, folder, trials=1_000_000, tracker=None, key="suite", on_event=on_event)
    return {
        "seconds": time.monotonic() - started,
        "trials": len(moments),
        "failed": failed,
        "trials_a_minute": 60 * len(moments) / moments[-1] if moments else 0.0,
        **shares(folder),
    }


def shares(folder: Path) -> dict[str, float]:
    """How much of the tuned speed the first trial of each kernel has, and the best of `ENOUGH`."""
    info = read_info(folder) or {"tasks": []}
    times: dict[str, list[float]] = {}
    for trial in trials(folder):
        if trial["status"] == "ok":
            times.setdefault(trial["task"], []).append(trial["figure"])
    known = [(task["weight"], times[task["key"]]) for task in info["tasks"] if task["key"] in times]
    best = sum(weight * min(each) for weight, each in known)
    return {
        "guess": best / sum(weight * each[0] for weight, each in known),
        "enough": best / sum(weight * min(each[:ENOUGH]) for weight, each in known),
    }


def artifacts(
    row: Row, onnx: Path, target: targets.Target, work: Path, seconds: float
) -> dict[str, Path]:
    """Builds TVM's artifacts; one that cannot be built goes to ``row.left_out``."""
    records = work / "records"
    wanted: dict[str, tuple[list[Path], bool]] = {FIRST: ([], False)}
    try:
        if seconds > 0:
            row.tuning = tuned(onnx, target, records, seconds)
        if holds_records(records):
            wanted[TUNED] = ([records], False)
    except TvmkdError as error:
        row.left_out[TUNED] = str(error)
    if shipped_records(target) is not None:
        wanted[SHIPPED] = ([], True)
    made: dict[str, Path] = {}
    for name, (folders, shipped) in wanted.items():
        started = time.monotonic()
        try:
            build(onnx, target, folders, work / name.partition(", ")[2], shipped=shipped)
        except TvmkdError as error:
            row.left_out[name] = str(error)
            continue
        row.build_seconds[name] = time.monotonic() - started
        made[name] = work / name.partition(", ")[2]
    return made


def measure(name: str, onnx: Path, work: Path, args: Any) -> Row:
    """Builds, tunes and compares one network."""
    row = Row(name)
    target = targets.load(args.target)
    made = artifacts(row, onnx, target, work, args.tune_seconds)
    found = compare(
        [
            *(EngineSpec(peer, peer, onnx) for peer in peers()[0]),
            *(EngineSpec(ours, TVM, folder) for ours, folder in made.items()),
        ],
        onnx,
        options=CompareOptions(
            threads=args.threads,
            seconds=args.seconds,
            processes=1 if args.quick else None,
        ),
    )
    row.engines = {engine.name: engine for engine in found.engines}
    row.left_out |= {each.name: each.reason for each in found.left_out}
    if args.peak is not None and made:
        best = next(each for each in (TUNED, SHIPPED, FIRST) if each in made)
        row.kernels = table(onnx, made[best], args.threads, args.peak)
    return row


def results(rows: Sequence[Row], tune_seconds: float) -> list[Result]:
    """The ratios with their bars: geometric means first, then each network."""
    kinds = [(FIRST, PEER, BAR_FIRST, BAR_FIRST_EACH)]
    if any(TUNED in row.engines or TUNED in row.left_out for row in rows):
        kinds.append((TUNED, "best peer", BAR_TUNED, BAR_TUNED_EACH))
    if any(SHIPPED in row.engines or SHIPPED in row.left_out for row in rows):
        kinds.append((SHIPPED, "best peer", BAR_SHIPPED, None))
    means, each = [], []
    for ours, peer, bar, bar_each in kinds:
        ratios = {}
        for row in rows:
            against = row.best_peer if peer == "best peer" else peer
            ratios[row.name] = row.ratio(ours, against)
            each.append(
                Result(
                    f"{row.name}: {ours} over {against}",
                    ratios[row.name],
                    bar_each,
                    ratios=row.of_rounds(ours, against),
                    note=row.left_out.get(ours, ""),
                )
            )
        mean = geometric_mean(list(ratios.values()))
        means.append(Result(f"geometric mean: {ours} over {peer}", mean, bar))
    for name, text, bar in (
        ("guess", "the first guess", BAR_GUESS),
        ("enough", f"{ENOUGH} trials a kernel", BAR_ENOUGH),
    ):
        reached = {row.name: row.tuning[name] for row in rows if name in row.tuning}
        if reached:
            mean = geometric_mean(list(reached.values()))
            means.append(
                Result(
                    f"geometric mean: {text} of the tuned speed",
                    mean,
                    bar,
                    "higher",
                    details=reached,
                )
            )
    if tune_seconds > 0:
        each += [
            Result(
                f"{row.name}: trials a minute",
                row.tuning.get("trials_a_minute", 0.0),
                BAR_TRIALS,
                "higher",
            )
            for row in rows
        ]
    return means + each


def milliseconds(rows: Sequence[Row]) -> str:
    """The medians of all engines in ms, in Markdown; the best peer in bold."""
    names = list(dict.fromkeys(name for row in rows for name in (*row.engines, *row.left_out)))
    names.sort(key=lambda name: name not in ENGINES)
    lines = [f"| network, ms | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for row in rows:
        cells = [
            f"{row.engines[name].p50:.3g}" if name in row.engines else "fails" for name in names
        ]
        cells = [
            f"**{cell}**" if name == row.best_peer else cell
            for name, cell in zip(names, cells, strict=True)
        ]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument(
        "--networks", nargs="+", metavar="NAME|FILE", default=list(EDGE12), help="default: edge12"
    )
    options.add_argument("--threads", type=int, default=machine.physical_cores())
    options.add_argument("--seconds", type=float, default=4.0, help="a network and engine")
    options.add_argument("--tune-seconds", type=float, default=300.0, help="0: no tuning")
    options.add_argument("--target", default="host")
    options.add_argument("--work", type=Path, help="files stay here; default: a temporary folder")
    options.add_argument("--quick", action="store_true", help="one process for each engine")
    options.add_argument("--no-kernels", action="store_true", help="leave the table of kinds out")
    args = options.parse_args()
    unknown = [name for name in args.networks if name not in EDGE12 and not Path(name).is_file()]
    if unknown:
        options.error(f"no such network or file: {', '.join(unknown)}; known: {', '.join(EDGE12)}")
    for text in peers()[1]:
        print(f"left out: {text}")
    args.peak = None if args.no_kernels else roofline.measure(1).gflops
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        work = args.work or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-suite-"))
        )
        for name in args.networks:
            onnx = onnx_file(name, work) if name in EDGE12 else Path(name)
            started = time.monotonic()
            row = measure(onnx.stem, onnx, work / onnx.stem, args)
            rows.append(row)
            print(f"\n{milliseconds([row])}")
            for engine, why in row.left_out.items():
                print(f"{engine} was left out: {why}")
            if row.tuning:
                print(
                    "{trials} trials in {seconds:.0f} s, {failed} failed; the first guess has "
                    "{guess:.1%} of the tuned speed".format_map(row.tuning)
                )
            if row.kernels:
                show_kinds(by_kind(row.kernels))
            print(f"{time.monotonic() - started:.0f} s", flush=True)
    print(f"\n{milliseconds(rows)}\n")
    kinds = by_kind([each for row in rows for each in row.kernels])
    if kinds:
        print("all networks together:")
        show_kinds(kinds)
        print()
    return finish(
        results(rows, args.tune_seconds),
        args.json,
        networks=[row.to_dict() for row in rows],
        kinds=kinds,
        core_peak_gflops=args.peak,
        target=targets.load(args.target).name,
        threads=args.threads,
    )


if __name__ == "__main__":
    sys.exit(main())
