#!/usr/bin/env python
"""Int8 against FP32 and against ONNX Runtime's int8, on networks that nobody tuned by hand.

    python benchmarks/bench_int8.py --work /tmp/int8 --json /tmp/int8/result.json
    python benchmarks/bench_int8.py --targets x86-64-v4-vnni --networks resnet18 --quick

The networks are edge12's without attention (`_networks.EDGE12`). Each is quantised by ONNX Runtime
(`_quantised`: QDQ, every operator, a scale for each output channel, weights of seven bits), and
built without records, in FP32 and in int8, for each target that runs here. ONNX Runtime runs both
files too. All are compared in one alternating run with the same threads on the same CPUs; ratios
are those of the medians. ONNX Runtime has no target: on a CPU with VNNI it uses VNNI, also where
tvmkd's code for AVX2 is compared with it.

Bars (geometric means): int8 over tvmkd's own FP32 0.55 with VNNI, 0.8 without; int8 over ONNX
Runtime's 1.0. The reference of all outputs is the int8 file in ONNX Runtime, unoptimised: tvmkd's
int8 may differ from it by at most 1% of the largest output more than ONNX Runtime's optimised int8
does. How far each engine is from it is in the JSON file (``relative_error``).

With --accuracy, a student of tvmkd's is trained on handwritten digits and quantised, and its
accuracy is compared (`_int8_accuracy`): tvmkd's may be 0.1 points below ONNX Runtime's.

In WORK, ONNX files are reused.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _common import Result, finish, parser
from _int8_accuracy import measure as accuracy
from _kernels import geometric_mean
from _networks import EDGE12, onnx_file
from _quantised import quantised

from tvmkd import targets
from tvmkd.base import machine
from tvmkd.base.engine_registry import TVM
from tvmkd.base.errors import TvmkdError
from tvmkd.bench import CompareOptions, EngineSpec, compare, schema
from tvmkd.stacks.compile import build

PEER = "onnxruntime"
ATTENTION = ("mobilevitv2_050",)
NETWORKS = tuple(name for name in EDGE12 if name not in ATTENTION)
TARGETS = ("x86-64-v4-vnni", "x86-64-v3-vnni", "x86-64-v3")
BAR_FP32_VNNI, BAR_FP32, BAR_PEER, BAR_ERROR = 0.55, 0.8, 1.0, 0.01
PRECISIONS = ("int8", "fp32")


def engine(precision: str, target: str = "") -> str:
    """The name of an engine: ONNX Runtime's without a target."""
    return f"tvm {precision} {target}" if target else f"{PEER} {precision}"


@dataclass
class Row:
    """One network.

    Attributes:
        engines: the results of each engine that ran.
        left_out: the reason for each that did not.
    """

    name: str
    engines: dict[str, schema.Engine] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def ratio(self, ours: str, other: str) -> float:
        """The ratio of the medians; infinite if one of the two was left out."""
        if not {ours, other} <= set(self.engines):
            return float("inf")
        return self.engines[ours].p50 / self.engines[other].p50

    def error(self, ours: str, peer: str) -> float:
        """How much more an engine's outputs differ than the peer's; infinite if it was left out."""
        if not {ours, peer} <= set(self.engines):
            return float("inf")
        return self.engines[ours].relative_error - self.engines[peer].relative_error

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        wanted = {"p50", "p90", "ci95", "relative_error", "size_bytes"}
        engines = {name: each.model_dump(include=wanted) for name, each in self.engines.items()}
        return {"name": self.name, "engines": engines, "left_out": self.left_out}


def measure(name: str, source: Path, wanted: Sequence[str], work: Path, args: Any) -> Row:
    """Quantises, builds and compares one network."""
    row = Row(name)
    files = {"int8": quantised(source, work / f"{name}.int8.onnx"), "fp32": source}
    specs = [EngineSpec(engine(each), PEER, files[each], each) for each in PRECISIONS]
    for target in wanted:
        for precision in PRECISIONS:
            folder = work / name / f"{target}-{precision}"
            try:
                build(files[precision], targets.load(target), [], folder, shipped=False)
            except TvmkdError as error:
                row.left_out[engine(precision, target)] = str(error)
                continue
            specs.append(EngineSpec(engine(precision, target), TVM, folder, precision))
    found = compare(
        specs,
        files["int8"],
        options=CompareOptions(
            threads=args.threads,
            seconds=args.seconds,
            processes=1 if args.quick else None,
            # FP32 is no mistake, however far from int8; int8 has a bar of its own.
            tolerance=float("inf"),
        ),
    )
    row.engines = {each.name: each for each in found.engines}
    row.left_out |= {each.name: each.reason for each in found.left_out}
    return row


def results(rows: Sequence[Row], wanted: Sequence[str]) -> list[Result]:
    """The ratios with their bars: geometric means first, then each network."""
    means, each = [], []
    for target in wanted:
        ours = engine("int8", target)
        bar = BAR_FP32_VNNI if "vnni" in target else BAR_FP32
        for other, limit in ((engine("fp32", target), bar), (engine("int8"), BAR_PEER)):
            ratios = [row.ratio(ours, other) for row in rows]
            title = f"{ours} over {other}"
            means.append(Result(f"geometric mean: {title}", geometric_mean(ratios), limit))
            each += [
                Result(f"{row.name}: {title}", ratio, None, note=row.left_out.get(ours, ""))
                for row, ratio in zip(rows, ratios, strict=True)
            ]
        worst = max(row.error(ours, engine("int8")) for row in rows)
        title = f"difference of outputs beyond that of {engine('int8')}, largest: {ours}"
        means.append(Result(title, worst, BAR_ERROR))
    return means + each


def milliseconds(rows: Sequence[Row]) -> str:
    """The medians of all engines in ms, in Markdown."""
    names = list(dict.fromkeys(name for row in rows for name in (*row.engines, *row.left_out)))
    names.sort(key=lambda name: (not name.startswith(PEER), name))
    lines = [f"| network, ms | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for row in rows:
        cells = [
            f"{row.engines[name].p50:.3g}" if name in row.engines else "fails" for name in names
        ]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--networks", nargs="*", metavar="NAME|FILE", default=list(NETWORKS))
    options.add_argument("--targets", nargs="+", default=["x86-64-v4-vnni", "x86-64-v3"])
    options.add_argument("--threads", type=int, default=machine.physical_cores())
    options.add_argument("--seconds", type=float, default=3.0, help="a network and engine")
    options.add_argument("--work", type=Path, help="files stay here; default: a temporary folder")
    options.add_argument("--accuracy", action="store_true", help="compare accuracy too; minutes")
    options.add_argument("--quick", action="store_true", help="one process for each engine")
    args = options.parse_args()
    unknown = [name for name in args.networks if name not in EDGE12 and not Path(name).is_file()]
    if unknown:
        options.error(f"no such network or file: {', '.join(unknown)}; known: {', '.join(EDGE12)}")
    wanted = []
    for name in args.targets:
        why = targets.load(name).runs_here()
        if why:
            print(f"{name} was left out: {why}")
        else:
            wanted.append(name)
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        work = args.work or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-int8-"))
        )
        for name in args.networks:
            source = onnx_file(name, work) if name in EDGE12 else Path(name)
            started = time.monotonic()
            row = measure(source.stem, source, wanted, work, args)
            rows.append(row)
            print(f"\n{milliseconds([row])}")
            for each, why in row.left_out.items():
                print(f"{each} was left out: {why}")
            print(f"{time.monotonic() - started:.0f} s", flush=True)
        more = accuracy(work, wanted) if args.accuracy else []
    print(f"\n{milliseconds(rows)}\n")
    return finish(
        [*(results(rows, wanted) if rows else []), *more],
        args.json,
        networks=[row.to_dict() for row in rows],
        targets=wanted,
        threads=args.threads,
    )


if __name__ == "__main__":
    sys.exit(main())
