#!/usr/bin/env python
"""Latency of tuned artifacts against ONNX Runtime: the demo's student and four torchvision models.

Each model is built for this machine with the records that ship with tvmkd (no trial is made here),
batch 1, FP32. Each engine runs in its own process, on the same CPUs with the same number of
threads. Their outputs are compared first, then they are timed interleaved; the ratio is that of the
medians. A table for each model lists its kernels: time, share, fraction of the cores' peak
(multiply-adds in registers, measured in the same run), and time of the same operator in ONNX
Runtime's profile.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from _common import Result, finish, parser
from _kernels import geometric_mean, show, table
from _networks import NETWORKS, STUDENT, onnx_file

from tvmkd import targets
from tvmkd.base import machine
from tvmkd.bench import CompareOptions, EngineSpec, compare, roofline
from tvmkd.stacks.compile import build

BAR_MEAN, BAR_STUDENT = 1.2, 1.0
TVM, PEER = "tvm", "onnxruntime"


def measure(name: str, onnx: Path, artifact: Path, threads: int, seconds: float) -> dict[str, Any]:
    """One comparison: the ratio of the overall medians and that of each round's medians."""
    found = compare(
        [EngineSpec(PEER, PEER, onnx), EngineSpec(TVM, "tvm", artifact)],
        onnx,
        options=CompareOptions(threads=threads, seconds=seconds),
    )
    by_name = {engine.name: engine for engine in found.engines}
    missing = {PEER, TVM} - by_name.keys()
    if missing:
        sys.exit(f"{name}: {', '.join(f'{e.name}: {e.reason}' for e in found.left_out)}")
    ours, peer = by_name[TVM], by_name[PEER]
    return {
        "name": name,
        "ratio": ours.p50 / peer.p50,
        "tvm_ms": ours.p50,
        "onnxruntime_ms": peer.p50,
        "tvm_p99_ms": ours.p99,
        "onnxruntime_p99_ms": peer.p99,
        "verdict": found.verdict.sentence,
    }


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--threads", type=int, default=machine.physical_cores())
    options.add_argument("--seconds", type=float, default=6.0, help="a model and engine")
    options.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options.add_argument("--records", type=Path, nargs="*", default=[], help="more records")
    options.add_argument("--no-kernels", action="store_true", help="leave the tables out")
    args = options.parse_args()
    target = targets.load("host")
    peak = roofline.measure(1).gflops
    print(f"one core's peak: {peak:.0f} GFLOP/s; {target.name}, {args.threads} threads\n")
    rows, kernels = [], {}
    with tempfile.TemporaryDirectory(prefix="tvmkd-latency-") as folder:
        for name in args.models:
            onnx, artifact = onnx_file(name, Path(folder)), Path(folder) / name
            manifest = build(onnx, target, args.records, artifact)
            row = measure(name, onnx, artifact, args.threads, args.seconds)
            row["tuned_share"] = manifest["coverage"]["tuned_share"]
            rows.append(row)
            print(
                f"{name}: tvm {row['tvm_ms']:.3f} ms, onnxruntime {row['onnxruntime_ms']:.3f} ms, "
                f"ratio {row['ratio']:.3f}; tuned share {row['tuned_share']:.0%}"
            )
            if not args.no_kernels:
                kernels[name] = table(onnx, artifact, args.threads, peak)
                show(kernels[name])
            print(flush=True)
    ratios = [row["ratio"] for row in rows]
    results = [Result("geometric mean, tvm over onnxruntime", geometric_mean(ratios), BAR_MEAN)]
    results += [
        Result(f"{row['name']}, tvm over onnxruntime", row["ratio"], BAR_STUDENT)
        for row in rows
        if row["name"] == STUDENT
    ]
    return finish(results, args.json, models=rows, kernels=kernels, core_peak_gflops=peak)


if __name__ == "__main__":
    sys.exit(main())
