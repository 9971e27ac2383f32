#!/usr/bin/env python
"""TensorRT-RTX (or TensorRT) engines of five torchvision models: build time, size and layers.

Each in FP32, FP16 and INT8, with a fixed batch of 1 and with a dynamic batch of 1 to 8, optimised
for 4. TensorRT-RTX builds for a given compute capability, so no GPU is needed and nothing is run.
"before" is the time before the builder starts: conversion to FP16 (with a comparison in ONNX
Runtime) or to INT8 (calibrated with eight images of seeded noise, which do not change the size),
and parsing. Weights are random and seeded. Build times are medians of several builds in one process
per model.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import finish, parser
from _networks import export

from tvmkd.base.errors import TvmkdError
from tvmkd.tensorrt import api
from tvmkd.tensorrt.builder import BuildOptions, build

MODELS = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet18",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
)
PRECISIONS = ("fp32", "fp16", "int8")
BATCH = (1, 4, 8)
PICTURES = 8


@dataclass(frozen=True)
class Setting:
    """Settings that are the same for all builds."""

    bindings: api.Bindings
    capability: str | None
    size: int
    repeats: int
    folder: Path


def measure(name: str, precision: Any, free: bool, setting: Setting) -> dict[str, Any]:
    """One row of the table."""
    shape = (1, 3, setting.size, setting.size)
    path = setting.folder / f"{name}-{'free' if free else 'fixed'}.onnx"
    export(f"torchvision:{name}", shape, path, free_batch=free)
    noise = np.random.default_rng(0).standard_normal((PICTURES, *shape[1:]), dtype=np.float32)
    options = BuildOptions(
        precision=precision,
        batch=BATCH if free else None,
        compute_capability=setting.capability,
        calibration={"input": noise} if precision == "int8" else None,
    )
    row: dict[str, Any] = {"model": name, "precision": precision, "batch": BATCH if free else 1}
    engines, before = [], []
    try:
        for _ in range(setting.repeats):
            start = time.monotonic()
            engines.append(build(path, options, setting.bindings))
            before.append(time.monotonic() - start - engines[-1].seconds)
    except TvmkdError as error:
        return {**row, "error": str(error)}
    engine = engines[-1]
    seconds = [one.seconds for one in engines]
    return {
        **row,
        "build_seconds": statistics.median(seconds),
        "all_build_seconds": seconds,
        "convert_seconds": statistics.median(before),
        "size_bytes": engine.size,
        "onnx_bytes": path.stat().st_size,
        "layers": len(engine.layers),
        "network_layers": engine.network_layers,
    }


def line(row: dict[str, Any]) -> str:
    """A row of the printed table."""
    batch = "1" if row["batch"] == 1 else "1–8"
    start = f"{row['model']:20} {row['precision']:5} {batch:>5}"
    if "error" in row:
        return f"{start}  {row['error']}"
    return (
        f"{start} {row['build_seconds']:8.2f} {row['convert_seconds']:8.2f} "
        f"{row['size_bytes'] / 1e6:8.2f} {row['layers']:7} {row['network_layers']:8}"
    )


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--product", choices=api.PRODUCTS, default="tensorrt-rtx")
    options.add_argument(
        "--compute-capability",
        help="tensorrt-rtx: 8.6 where it is not given; tensorrt: what is here",
    )
    options.add_argument("--size", type=int, default=224, help="of the pictures")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    args = options.parse_args()
    try:
        bindings = api.find(args.product)
    except TvmkdError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    capability = args.compute_capability or ("8.6" if bindings.crosses else None)
    where = f"compute capability {capability}" if capability else "the GPU that is here"
    print(f"{bindings.title} for {where}, {args.size}×{args.size}\n")
    print(f"{'':20} {'':5} {'batch':>5} {'build s':>8} {'before s':>8} {'MB':>8} "
          f"{'layers':>7} {'network':>8}")  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory(prefix="tvmkd-engines-") as folder:
        setting = Setting(bindings, capability, args.size, args.repeats, Path(folder))
        for name in args.models:
            for precision in PRECISIONS:
                for free in (False, True):
                    rows.append(measure(name, precision, free, setting))
                    print(line(rows[-1]), flush=True)
    return finish(
        [],
        args.json,
        rows=rows,
        product=bindings.product,
        version=bindings.version,
        compute_capability=capability,
        size=args.size,
    ) or int(any("error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
