#!/usr/bin/env python
"""Students side by side: accuracy after a short distillation, latency in TVM and ONNX Runtime.

    python benchmarks/bench_students.py --json /tmp/students.json
    python benchmarks/bench_students.py --part attention --grids 8 16 32

The parts:

- ``students``: the networks of tvmkd, ``mobilevit`` with each kind of attention, and timm's edge
  networks. Each learns the embedded digits from the same teacher, with ``--seeds``; the best seed
  on the validation split is exported (reparametrised, as every student is) and timed.
- ``attention``: one layer of each kind alone, for maps of ``--grids`` tokens a side: from which
  size on does a sparse form pay?

No trial is made: kernels have the records that ship and those of ``--records``. Both engines are
timed interleaved, batch 1, FP32. Nothing has a bar: the tables are to be read.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _common import Result, finish, parser

from tvmkd import config, targets
from tvmkd.base import machine
from tvmkd.base.errors import InputError
from tvmkd.bench import CompareOptions, EngineSpec, compare
from tvmkd.stacks.compile import build

TVM, PEER = "tvm", "onnxruntime"
KINDS = ("full", "window", "linear", "topk", "topk-gather")
EDGE = ("mobilenetv4_conv_small", "fastvit_t8", "repvit_m0_9", "mobileone_s0", "efficientvit_b0",
        "mobilevitv2_050")  # fmt: skip
# name: (model, args, branches while training)
STUDENTS: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "depthwise": ("depthwise", {}, None),
    "depthwise, reparam 2": ("depthwise", {}, 2),
    "bottleneck": ("bottleneck", {}, None),
    **{
        f"mobilevit, {kind}": ("mobilevit", {"attention": kind, "patch": 1}, None) for kind in KINDS
    },
    **{f"timm:{name}": (f"timm:{name}", {}, None) for name in EDGE},
}
FEATURES = 64  # of a token, in the part "attention"
TEACHER = {"model": "residual", "epochs": 40, "lr": 4e-3}


@dataclass
class Row:
    """What is known of one network.

    Attributes:
        name: of the network.
        macs: multiply-accumulates of one image.
        parameters: trained weights; of the network as it runs.
        nodes: of the ONNX file.
        tvm_ms, onnxruntime_ms: median latencies; None: the build was refused.
        accuracies: test accuracy by seed, 0 to 1.
        problem: why there is no TVM latency.
    """

    name: str
    macs: int
    parameters: int
    nodes: int
    tvm_ms: float | None = None
    onnxruntime_ms: float | None = None
    accuracies: Sequence[float] = ()
    problem: str = ""

    def line(self) -> str:
        """The row as text."""
        times = (
            "     -" if ms is None else f"{ms:6.3f}" for ms in (self.tvm_ms, self.onnxruntime_ms)
        )
        score = f"{100 * statistics.fmean(self.accuracies):5.1f} %" if self.accuracies else ""
        size = f"{self.macs / 1e6:8.2f} {self.parameters / 1e3:9.1f} {self.nodes:5d}"
        return f"{self.name:30} {score:>8} {size}  {'  '.join(times)}  {self.problem}".rstrip()


HEADER = f"{'':30} {'accuracy':>8} {'MMAC':>8} {'k weights':>9} nodes  TVM ms  ORT ms"


def learnt(name: str, work: Path, args: Any) -> tuple[Path, list[float]]:
    """The checkpoint of a student after its training, and the test accuracy of each seed."""
    from tvmkd.distill import distill

    model, kwargs, reparam = STUDENTS[name]
    teacher = work / "teacher.pt"
    known = {**TEACHER, "epochs": args.teacher_epochs}
    cfg = config.parse(
        {
            "project": {"name": "students"},
            "data": {"image_size": args.size, "augment": "affine"},
            "teacher": {**known, **({"checkpoint": str(teacher)} if teacher.exists() else {})},
            "student": {
                "model": model,
                "args": kwargs,
                **({"reparam": reparam} if reparam else {}),
            },
            "distill": {
                "epochs": args.epochs,
                "lr": args.lr,
                "seeds": list(range(args.seeds)),
                "baseline": False,
            },
        }
    )
    out = work / name.replace(":", "-").replace(", ", "-").replace(" ", "-")
    result = distill(cfg, out)
    if not teacher.exists():
        (out / "teacher.pt").replace(teacher)
    return result.checkpoint, result.accuracies("distilled")


def timed(row: Row, onnx: Path, args: Any) -> Row:
    """The row with the latencies of its file."""
    artifact = onnx.with_suffix("")
    engines = [EngineSpec(PEER, PEER, onnx)]
    try:
        build(onnx, targets.load("host"), args.records, artifact)
        engines.append(EngineSpec(TVM, "tvm", artifact))
    except InputError as error:
        row.problem = str(error)
    options = CompareOptions(threads=args.threads, seconds=args.seconds)
    found = {engine.name: engine.p50 for engine in compare(engines, onnx, options=options).engines}
    row.tvm_ms, row.onnxruntime_ms = found.get(TVM), found.get(PEER)
    print(row.line(), flush=True)
    return row


def students(work: Path, args: Any) -> list[Row]:
    """Trains, exports and times each student."""
    from tvmkd import models
    from tvmkd.export import check, export
    from tvmkd.models import checkpoint
    from tvmkd.models.macs import macs, parameters
    from tvmkd.models.reparameterize import fused

    rows = []
    shape = (1, 1, args.size, args.size)
    for name in args.only or STUDENTS:
        path, accuracies = learnt(name, work, args)
        saved = checkpoint.load(path)
        network = fused(models.build(saved.model["spec"], **saved.model["kwargs"]), shape)
        onnx = export(path, path.with_name("network.onnx"))
        nodes = sum(check(onnx).operators.values())
        row = Row(name, macs(network, shape), parameters(network), nodes, accuracies=accuracies)
        rows.append(timed(row, onnx, args))
    return rows


def attention(work: Path, args: Any) -> list[Row]:
    """Times one layer of each kind for each size of the map."""
    import torch

    from tvmkd.export import check, export
    from tvmkd.models.attention import maker
    from tvmkd.models.macs import macs, parameters

    rows = []
    for grid in args.grids:
        for kind in KINDS:
            torch.manual_seed(0)
            layer, shape = maker(kind)(FEATURES, grid).eval(), (1, grid * grid, FEATURES)
            onnx = export(layer, work / "layers" / f"{kind}-{grid}.onnx", shape)
            nodes = sum(check(onnx).operators.values())
            name = f"{kind}, {grid * grid} tokens"
            rows.append(timed(Row(name, macs(layer, shape), parameters(layer), nodes), onnx, args))
    return rows


def results(rows: Sequence[Row]) -> list[Result]:
    """TVM's latency over ONNX Runtime's, of each network that has both."""
    return [
        Result(f"{row.name}: tvm over onnxruntime", row.tvm_ms / row.onnxruntime_ms, None)
        for row in rows
        if row.tvm_ms and row.onnxruntime_ms
    ]


def main() -> int:
    """Runs the parts that were asked for."""
    options = parser(__doc__ or "")
    options.add_argument("--part", action="append", choices=("students", "attention"))
    options.add_argument("--only", action="append", choices=STUDENTS, metavar="STUDENT")
    options.add_argument("--size", type=int, default=32, help="side of the images, pixels")
    options.add_argument("--epochs", type=int, default=60)
    options.add_argument("--teacher-epochs", type=int, default=TEACHER["epochs"])
    options.add_argument("--lr", type=float, default=4e-3)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--grids", type=int, nargs="+", default=[7, 14, 28])
    options.add_argument("--seconds", type=float, default=4.0, help="an engine and network")
    options.add_argument("--threads", type=int, default=machine.physical_cores())
    options.add_argument("--records", type=Path, nargs="*", default=[], help="tuning records")
    options.add_argument("--work", type=Path, help="a folder that is kept: trainings are resumed")
    args = options.parse_args()
    rows: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="tvmkd-students-") as temporary:
        work = args.work or Path(temporary)
        for part in args.part or ("students", "attention"):
            print(f"{part}\n{HEADER}", flush=True)
            rows[part] = (students if part == "students" else attention)(work, args)
            print()
    found = [result for part in rows.values() for result in results(part)]
    kept = {part: [asdict(row) for row in each] for part, each in rows.items()}
    return finish(found, args.json, **kept)


if __name__ == "__main__":
    sys.exit(main())
