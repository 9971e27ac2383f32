#!/usr/bin/env python
"""Share of ten torchvision models that TVM can offload to TensorRT, and the partitioning time.

Partitioning needs neither TensorRT nor a GPU: it uses upstream's patterns, except operators that
cannot be converted to ONNX. With ``--build`` the regions are also compiled: by ONNX Runtime on this
machine (the outputs are then compared with those of the whole model), or by TensorRT-RTX for the
compute capability of a target.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _common import Result, finish, parser
from _networks import NETWORKS, onnx_file

from tvmkd import targets
from tvmkd.base.errors import TvmkdError
from tvmkd.stacks.client import StackClient

MODELS = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "efficientnet_b0",
    "densenet121",
    "convnext_tiny",
    "vit_b_16",
)
NETWORKS.update({name: (f"torchvision:{name}", (1, 3, 224, 224)) for name in MODELS})


def covered(stack: StackClient, name: str, onnx: Path, target: Mapping[str, Any]) -> dict[str, Any]:
    """The coverage of a model, and the seconds needed to import and partition it."""
    start = time.perf_counter()
    found: dict[str, Any] = stack.lower(onnx, target, byoc="tensorrt")["byoc"]
    found.pop("available")
    return {"name": name, **found, "seconds": time.perf_counter() - start}


def built(
    stack: StackClient, onnx: Path, target: Mapping[str, Any], engine: str, out: Path
) -> dict[str, Any]:
    """Builds a library with the offloaded regions and returns its facts."""
    start = time.perf_counter()
    manifest = stack.build(onnx, target, [], out, byoc=engine)
    carried = manifest["coverage"]["byoc"]["carried"]
    return {
        "seconds": time.perf_counter() - start,
        "regions": len(carried),
        "forms": sorted({region["form"] for region in carried}),
        "region_bytes": sum(region["bytes"] for region in carried),
        "library_bytes": manifest["files"]["model.so"]["size"],
        "max_error": manifest["check"].get("max_error"),
    }


def line(row: Mapping[str, Any]) -> str:
    """A row of the table in docs/explanation/tensorrt-byoc.md."""
    left = ", ".join(f"{entry['count']} {entry['name']}" for entry in row["left"]) or "–"
    cells = [
        row["name"],
        f"{sum(row['offloaded'].values())} of {row['operators']}",
        str(row["regions"]),
        f"{100 * row['mac_share']:.1f} %",
        left,
    ]
    made = row.get("built")
    if made is not None:
        cells += (
            [made["error"]]
            if "error" in made
            else [
                f"{made['seconds']:.0f}",
                f"{made['region_bytes'] / 1e6:.1f}",
                "–" if made["max_error"] is None else f"{made['max_error']:.1e}",
            ]
        )
    return f"| {' | '.join(cells)} |"


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options.add_argument("--onnx", type=Path, help="a folder of exported models, to keep them in")
    options.add_argument("--build", choices=["onnxruntime", "tensorrt-rtx"])
    options.add_argument("--arch", default="sm_89", help="of --build tensorrt-rtx")
    args = options.parse_args()
    target = targets.load("x86-64-v3").to_dict()
    if args.build == "tensorrt-rtx":
        nano = targets.load("jetson-nano-gpu").to_dict()
        target = {**nano, "name": args.arch, "cuda": {**nano["cuda"], "arch": args.arch}}
    heads = ["network", "operators in TensorRT", "regions", "multiply-adds in them", "left in TVM"]
    if args.build:
        heads += ["s to build", "MB of regions", "differs from ONNX Runtime by"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="tvmkd-byoc-") as work, StackClient("relax") as stack:
        # Otherwise a second run would time the engine cache.
        os.environ["XDG_CACHE_HOME"] = work
        for name in args.models:
            onnx = onnx_file(name, args.onnx or Path(work))
            row = covered(stack, name, onnx, target)
            if args.build:
                try:
                    row["built"] = built(stack, onnx, target, args.build, Path(work) / name)
                except TvmkdError as error:
                    row["built"] = {"error": str(error)}
            rows.append(row)
            print(line(row), flush=True)
    shares = [row["mac_share"] for row in rows]
    print()
    return finish(
        [Result("multiply-adds in TensorRT, least of all models", min(shares), None, "higher")],
        args.json,
        models=rows,
    )


if __name__ == "__main__":
    sys.exit(main())
