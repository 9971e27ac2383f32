#!/usr/bin/env python
"""GPU kernels of ten torchvision networks, compiled for four generations of GPUs; needs none.

    python benchmarks/bench_cuda.py --json /tmp/cuda.json

Each network is built for each GPU with default schedules: TVM writes CUDA C, NVRTC makes PTX of it,
ptxas makes the GPU's own code. What ptxas says of the kernels stands in the table: how many there
are, their registers, what they spill, and how many warps of a multiprocessor they can use.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from _common import Result, finish, parser
from _networks import onnx_file
from bench_byoc_coverage import MODELS

from tvmkd import targets
from tvmkd.base.errors import TvmkdError
from tvmkd.base.nvidia_driver import Gpu
from tvmkd.stacks.client import StackClient

H100 = Gpu("NVIDIA H100", 90, 80 << 30, 132, 65536, 49152, 1024, 32, 3350.0, False, (12, 8))
"""As its driver would describe it."""
SHIPPED = ("jetson-nano-gpu", "jetson-xavier-nx", "jetson-agx-orin")


def built(stack: StackClient, onnx: Path, target: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Builds a network for a GPU and returns what ptxas says of its kernels."""
    start = time.perf_counter()
    try:
        manifest = stack.build(onnx, target, [], out)
    except TvmkdError as error:
        return {"error": str(error)}
    facts = [
        kernel["ptxas"] for kernel in manifest["coverage"]["kernels"].values() if "ptxas" in kernel
    ]
    return {
        "seconds": time.perf_counter() - start,
        "kernels": len(facts),
        "registers": [fact["registers"] for fact in facts],
        "spilling": sum(fact["spill_bytes"] > 0 for fact in facts),
        "spill_bytes": max((fact["spill_bytes"] for fact in facts), default=0),
        "shared_bytes": max((fact["shared_bytes"] for fact in facts), default=0),
        "occupancy": [fact["occupancy"] for fact in facts],
    }


def line(name: str, row: Mapping[str, Any]) -> str:
    """A row of the table in docs/how-to/cuda.md."""
    if "error" in row:
        return f"| {name} | {row['error']} |"
    registers, occupancy = row["registers"], row["occupancy"]
    cells = [
        name,
        str(row["kernels"]),
        f"{statistics.median(registers):.0f} ({max(registers)})",
        f"{row['spilling']}" + (f" ({row['spill_bytes']} bytes)" if row["spilling"] else ""),
        f"{row['shared_bytes'] / 1024:.0f}",
        f"{statistics.median(occupancy):.2f} ({min(occupancy):.2f})",
        f"{row['seconds']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Prints a table for each GPU."""
    options = parser(__doc__ or "")
    options.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options.add_argument("--onnx", type=Path, help="a folder of exported models, to keep them in")
    args = options.parse_args()
    gpus = [targets.load(name) for name in SHIPPED]
    host = targets.load("host")
    gpus.append(replace(targets.of_gpu(H100, host), name="h100", description=H100.name))
    heads = ("network", "kernels", "registers", "spill", "shared KiB", "occupancy", "s")
    results = []
    with tempfile.TemporaryDirectory(prefix="tvmkd-cuda-") as work, StackClient("relax") as stack:
        for target in gpus:
            print(f"\n{target.tvm['arch']} ({target.description})\n", flush=True)
            print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
            rows = {}
            for name in args.models:
                onnx = onnx_file(name, args.onnx or Path(work))
                rows[name] = built(stack, onnx, target.to_dict(), Path(work) / "out")
                print(line(name, rows[name]), flush=True)
            share = sum("error" not in row for row in rows.values()) / len(rows)
            what = f"{target.tvm['arch']}: networks all of whose kernels pass ptxas"
            results.append(Result(what, share, 1.0, "higher", details=rows))
    return finish(results, args.json)


if __name__ == "__main__":
    sys.exit(main())
