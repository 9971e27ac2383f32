#!/usr/bin/env python
"""What a process pays for a network: to open it, in memory, and to import the library.

Every measurement is a fresh process with numpy imported: it imports `tvmkd.load` or ONNX Runtime,
opens the network, and runs it twice; TVM and ONNX Runtime take turns. Memory is the process's
resident set after that, numpy and Python included. Bars: opening 0.15 s, memory 1.2 of ONNX
Runtime's. The networks are torchvision's ResNet-50 and those of ``bench_latency.py``, or ONNX
files.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _common import Result, finish, parser
from _networks import NETWORKS, SQUARE, export, onnx_file

from tvmkd import targets
from tvmkd.stacks.compile import build

BAR_OPEN, BAR_MEMORY = 0.15, 1.2
RESNET50 = "resnet50"
SIDES = ("tvm", "onnxruntime")

PROCESS = """
import json, sys, time
import numpy as np
clock = time.perf_counter
start = clock()
if sys.argv[1] == "tvm":
    from tvmkd.artifact import load
    imported = clock()
    model = load(sys.argv[2])
    opened = clock()
    given = [np.ones(spec.shape, spec.dtype) for spec in model.manifest.inputs]
    run = lambda: model.run(given)
else:
    import onnxruntime
    imported = clock()
    model = onnxruntime.InferenceSession(sys.argv[2])
    opened = clock()
    given = {spec.name: np.ones(spec.shape, np.float32) for spec in model.get_inputs()}
    run = lambda: model.run(None, given)
run(), run()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "import": imported - start, "open": opened - imported,
    "memory": int(status["VmRSS"].split()[0]) / 1024,
}))
"""


def once(side: str, path: Path) -> dict[str, float]:
    """Seconds of the import and of opening, and MiB of memory, in a fresh process."""
    root = Path(__file__).resolve().parents[1]
    words = [sys.executable, "-c", PROCESS, side, str(path)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=root)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(onnx: Path, artifact: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """By side and quantity, the values of each round."""
    found: dict[str, dict[str, list[float]]] = {side: {} for side in SIDES}
    for number in range(-1, rounds):  # the first fills the page cache
        for side, path in zip(SIDES, (artifact, onnx), strict=True):
            for quantity, value in once(side, path).items():
                if number >= 0:
                    found[side].setdefault(quantity, []).append(value)
    return found


def results(name: str, found: dict[str, dict[str, list[float]]]) -> list[Result]:
    """Opening in seconds, memory as a ratio, the import in seconds without a bar."""
    ours, peer = found["tvm"], found["onnxruntime"]
    middle: dict[str, Any] = {
        side: {quantity: statistics.median(values) for quantity, values in each.items()}
        for side, each in found.items()
    }
    texts = {
        quantity: f"ONNX Runtime {middle['onnxruntime'][quantity]:.3f} s"
        for quantity in ("open", "import")
    }
    memory = [a / b for a, b in zip(ours["memory"], peer["memory"], strict=True)]
    return [
        Result(f"{name}: opening, s", middle["tvm"]["open"], BAR_OPEN, ratios=ours["open"],
               note=texts["open"]),
        Result(f"{name}: memory, tvm over onnxruntime", statistics.median(memory), BAR_MEMORY,
               ratios=memory, details=middle,
               note=f"{middle['tvm']['memory']:.0f} MiB, ONNX Runtime "
               f"{middle['onnxruntime']['memory']:.0f}"),
        Result(f"{name}: import, s", middle["tvm"]["import"], None, ratios=ours["import"],
               note=texts["import"]),
    ]  # fmt: skip


def main() -> int:
    """Builds the artifacts for this machine and measures."""
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument(
        "--networks", nargs="+", metavar="NAME|FILE", default=[RESNET50, *NETWORKS]
    )
    args = options.parse_args()
    known = {RESNET50, *NETWORKS}
    wrong = [name for name in args.networks if name not in known and not Path(name).is_file()]
    if wrong:
        options.error(f"no such network or file: {', '.join(wrong)}; known: {', '.join(known)}")
    rows: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="tvmkd-open-") as folder:
        work = Path(folder)
        for name in args.networks:
            if name == RESNET50:
                onnx = export("torchvision:resnet50", SQUARE, work / "resnet50.onnx")
            else:
                onnx = onnx_file(name, work) if name in NETWORKS else Path(name)
            artifact = work / f"{onnx.stem}-artifact"
            build(onnx, targets.load("host"), [], artifact)
            rows += results(onnx.stem, measure(onnx, artifact, args.rounds))
    return finish(rows, args.json)


if __name__ == "__main__":
    sys.exit(main())
