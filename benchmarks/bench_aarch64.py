#!/usr/bin/env python
"""Instructions that one inference takes on a board's CPU, against ONNX Runtime and ncnn.

    python benchmarks/bench_aarch64.py --work /tmp/arm --json /tmp/arm/result.json
    python benchmarks/bench_aarch64.py --networks resnet18 mine.onnx --target raspberry-pi-4

No board is needed: QEMU runs AArch64 programs for the board's CPU, and a plugin that is compiled
here (``qemu_blocks.c``) counts every instruction. All engines run in the same small AArch64 system
(Debian's Python and the engines' own AArch64 wheels, which are downloaded once), with one thread,
batch 1, FP32. Counted is one run after two others, and outputs are compared with those of ONNX
Runtime on this machine. Counts repeat to about 0.1%.

Fewer instructions are not the same as less time: nothing here knows of caches. What LLVM's machine
code analyser (llvm-mca) expects of the code that ran is therefore given beside the counts, for each
network as a whole and for the hottest kernels: cycles of an Arm Cortex-A57 or A72 whose data are
all in the first cache. **Nothing here ran on a board.**

The networks are edge12 (`_networks.EDGE12`; --size shrinks the images) or ONNX files with fixed
sizes. TVM is built with the records that ship for the target, if there are any, or with --first
without them.

Bar: 1.0 of the instructions of each network's better peer, in the geometric mean.

Needs ``qemu-user`` (QEMU up to 8.2), gcc and Debian's apt; for cycles ``llvm``; for ncnn
``pip install 'tvmkd[benchmark]'``.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _mca
import _qemu
import numpy as np
from _aarch64 import Counted, count
from _common import Result, finish, parser
from _kernels import geometric_mean
from _networks import EDGE12, export, onnx_file

from tvmkd import targets
from tvmkd.base.errors import InputError, MissingError, TvmkdError
from tvmkd.base.onnx_runtime import open_session
from tvmkd.base.random_inputs import random_sample
from tvmkd.base.tolerance import ENGINE, error_of_range
from tvmkd.bench.engines import engine_class, ncnn
from tvmkd.bench.engines.conversion import convert
from tvmkd.stacks.compile import build

PEERS = ("onnxruntime", "ncnn")
OURS = "tvm"
BAR = 1.0
HOTTEST = 10


@dataclass
class Row:
    """One network.

    Attributes:
        instructions: of one inference, by engine.
        cycles: that llvm-mca expects of them; empty without LLVM.
        left_out: the reason for each engine without a count.
        kernels: of TVM, most instructions first: see `kernels_of`.
    """

    name: str
    instructions: dict[str, float] = field(default_factory=dict)
    cycles: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    kernels: list[dict[str, Any]] = field(default_factory=list)

    def ratio(self, found: dict[str, float]) -> float:
        """TVM's figure over that of the better peer; infinite if TVM has none."""
        best = min(found[peer] for peer in PEERS if peer in found)
        return found[OURS] / best if OURS in found else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return dict(vars(self))


def job_of(
    engine: str, onnx: Path, names: Sequence[str], target: targets.Target, work: Path, first: bool
) -> dict[str, Any]:
    """What the emulated system needs to run a model with an engine.

    Raises:
        TvmkdError: the model cannot be built or converted for it.
    """
    job: dict[str, Any] = {"engine": engine, "outputs": list(names)}
    if engine == OURS:
        out = work / "artifact"
        build(onnx, target, [], out, shipped=not first)
        return {**job, "model": str(out / "model.so")}
    if engine == "onnxruntime":
        return {**job, "model": str(onnx)}
    lacks = engine_class(engine).lacks(engine)
    if lacks:
        raise MissingError(lacks)
    folder = work / "ncnn"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").unlink(missing_ok=True)
    (folder / "model.onnx").symlink_to(onnx.absolute())
    session = open_session(onnx.read_bytes(), str(onnx), threads=1, weights=onnx.parent)
    shapes = ",".join(f"[{','.join(map(str, given.shape))}]f32" for given in session.get_inputs())
    made = [ncnn.PARAM, ncnn.BIN, ncnn.SCRIPT]
    command = [str(ncnn.converter()), "model.onnx", f"inputshape={shapes}", "fp16=0"]
    convert(command, folder, made, onnx)
    script = (folder / ncnn.SCRIPT).read_text(encoding="utf-8")
    return {
        **job,
        "model": str((folder / ncnn.PARAM).with_suffix("")),
        "batch": ncnn.batches(script),
        "reduced": list(ncnn.REDUCED),
    }


def check(found: Counted, wanted: Sequence[np.ndarray]) -> None:
    """Compares outputs with ONNX Runtime's.

    Raises:
        InputError: they differ by more than an engine may.
    """
    for number, (got, right) in enumerate(zip(found.outputs, wanted, strict=True)):
        error = error_of_range(got.reshape(right.shape), right)
        if error > ENGINE["fp32"]:
            raise InputError(f"output {number} differs by {error:.2g} of its range")


def kernels_of(
    found: Counted, cycles: np.ndarray | None, library: Path, core: _mca.Core
) -> list[dict[str, Any]]:
    """TVM's kernels, most instructions first, each with its hottest block.

    Each has ``kernel``, ``instructions``, ``share`` of the inference's, ``cycles``, and of the
    block with most of its instructions ``loop_share``, ``loop_instructions``, ``loop_cycles`` and
    its assembly ``loop``.
    """
    symbols = _mca.Symbols(library)
    inside, base = _mca.in_library(found.blocks, found.maps, library)
    groups: dict[str, list[int]] = defaultdict(list)
    for number in np.flatnonzero(inside):
        name = symbols.at(int(found.blocks["address"][number]) - base)
        groups[name].append(int(number))
    retired = found.blocks["instructions"] * found.blocks["runs"]
    rows: list[dict[str, Any]] = []
    for name, numbers in groups.items():
        hottest = max(numbers, key=lambda n: float(retired[n]))
        total = float(retired[numbers].sum())
        rows.append(
            {
                "kernel": name,
                "instructions": total,
                "share": total / found.instructions,
                "cycles": None if cycles is None else float(cycles[numbers].sum()),
                "loop_share": float(retired[hottest]) / total,
                "loop_instructions": int(found.blocks["instructions"][hottest]),
                "loop_cycles": None
                if cycles is None
                else float(cycles[hottest] / found.blocks["runs"][hottest]),
                "loop": found.codes[hottest],
            }
        )
    rows.sort(key=lambda row: -row["instructions"])
    rows = rows[:HOTTEST]
    loops = _mca.disassembled([row["loop"] for row in rows], core)
    return [{**row, "loop": loop} for row, loop in zip(rows, loops, strict=True)]


def network(name: str, size: int | None, work: Path) -> Path:
    """A network of edge12 as a file, with square images of ``size`` pixels or its own."""
    if size is None:
        return onnx_file(name, work)
    spec, (batch, channels, *_) = EDGE12[name]
    return export(spec, (batch, channels, size, size), work / f"{name}-{size}.onnx")


def measure(name: str, onnx: Path, work: Path, target: targets.Target, args: Any) -> Row:
    """Builds, runs and counts one network with every engine."""
    row = Row(name)
    session = open_session(onnx.read_bytes(), str(onnx), threads=1, weights=onnx.parent)
    specs = [
        {"name": given.name, "shape": given.shape, "dtype": "float32"}
        for given in session.get_inputs()
    ]
    sample = random_sample(np.random.default_rng(0), specs)
    wanted = session.run(None, sample)
    names = [output.name for output in session.get_outputs()]
    core = _mca.CORES.get(target.mcpu)
    for engine in (*PEERS, OURS):
        begin = time.monotonic()
        try:
            job = job_of(engine, onnx, names, target, work, args.first)
            found = count(job, sample, target.mcpu, work / engine)
            check(found, wanted)
        except TvmkdError as error:
            row.left_out[engine] = str(error)
            continue
        row.instructions[engine] = found.instructions
        if core is not None and not args.no_cycles:
            cycles = _mca.expected(found.blocks, found.codes, core)
            row.cycles[engine] = float(cycles.sum())
            if engine == OURS:
                row.kernels = kernels_of(found, cycles, Path(job["model"]), core)
        print(f"  {engine}: {found.instructions / 1e6:.2f} million instructions, "
              f"{time.monotonic() - begin:.0f} s", flush=True)  # fmt: skip
    return row


def results(rows: Sequence[Row]) -> list[Result]:
    """The geometric means, then each network."""
    counted = [row for row in rows if any(peer in row.instructions for peer in PEERS)]
    ratios = [row.ratio(row.instructions) for row in counted]
    found = []
    if ratios:
        found.append(
            Result("geometric mean: instructions over better peer", geometric_mean(ratios), BAR)
        )
    cycles = [row.ratio(row.cycles) for row in counted if row.cycles]
    if cycles:
        found.append(
            Result("geometric mean: llvm-mca's cycles over better peer",
                   geometric_mean(cycles), None)
        )  # fmt: skip
    for row, ratio in zip(counted, ratios, strict=True):
        found.append(Result(f"{row.name}: instructions", ratio, None,
                            note=row.left_out.get(OURS, "")))  # fmt: skip
    return found


def table(rows: Sequence[Row]) -> str:
    """Millions of instructions, and llvm-mca's cycles in brackets, in Markdown."""
    engines = [*PEERS, OURS]
    lines = [f"| network, millions | {' | '.join(engines)} | over better peer |"]
    lines.append("|---|" + "---:|" * (len(engines) + 1))
    for row in rows:
        cells = []
        for engine in engines:
            if engine not in row.instructions:
                cells.append("fails")
                continue
            cell = f"{row.instructions[engine] / 1e6:.1f}"
            if engine in row.cycles:
                cell += f" ({row.cycles[engine] / 1e6:.1f})"
            cells.append(cell)
        last = "–"
        if any(peer in row.instructions for peer in PEERS):
            last = f"{row.ratio(row.instructions):.2f}"
            last += f" ({row.ratio(row.cycles):.2f})" if row.cycles else ""
        lines.append(f"| {row.name} | {' | '.join(cells)} | {last} |")
    return "\n".join(lines)


def show_kernels(row: Row, code: bool) -> None:
    """Prints the hottest kernels of a network."""
    if not row.kernels:
        return
    print(f"  {'kernel':52} {'share':>6} {'instr.':>8} {'cycles':>8} {'IPC':>5}  innermost loop")
    for kernel in row.kernels:
        retired, cycles = kernel["instructions"], kernel["cycles"]
        loop = f"{kernel['loop_share']:.0%} in {kernel['loop_instructions']} instructions"
        print(
            f"  {kernel['kernel'][:52]:52} {kernel['share']:6.1%} {retired / 1e6:7.2f}M "
            f"{cycles / 1e6:7.2f}M {retired / cycles:5.2f}  {loop}, "
            f"{kernel['loop_cycles']:.1f} cycles"
        )
        if code:
            print("\n".join(f"      {line}" for line in kernel["loop"]))


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument(
        "--networks", nargs="+", metavar="NAME|FILE", default=list(EDGE12), help="default: edge12"
    )
    options.add_argument("--size", type=int, help="of the images, in pixels; default: 224 or 320")
    options.add_argument("--target", default="jetson-nano")
    options.add_argument("--first", action="store_true", help="leave out the records that ship")
    options.add_argument("--no-cycles", action="store_true", help="leave llvm-mca out")
    options.add_argument("--code", action="store_true", help="print the hottest loops")
    options.add_argument("--work", type=Path, help="files stay here; default: a temporary folder")
    args = options.parse_args()
    unknown = [name for name in args.networks if name not in EDGE12 and not Path(name).is_file()]
    if unknown:
        options.error(f"no such network or file: {', '.join(unknown)}; known: {', '.join(EDGE12)}")
    target = targets.load(args.target)
    if target.architecture != "aarch64" or target.device != "cpu":
        options.error(f"{target.name} is no AArch64 CPU")
    reason = _qemu.why_not()
    if reason is not None:
        print(reason, file=sys.stderr)
        return MissingError.exit_code
    if not args.no_cycles and (lacks := _mca.why_not()):
        print(f"no cycles: {lacks}")
        args.no_cycles = True
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        work = args.work or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-aarch64-"))
        )
        for name in args.networks:
            onnx = Path(name)
            if name in EDGE12:
                onnx = network(name, args.size, work)
            print(f"{onnx.stem}:", flush=True)
            row = measure(onnx.stem, onnx, work / onnx.stem, target, args)
            rows.append(row)
            for engine, why in row.left_out.items():
                print(f"  {engine} is left out: {why}")
            show_kernels(row, args.code)
    print(f"\n{table(rows)}\n")
    return finish(results(rows), args.json, rows=[row.to_dict() for row in rows])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MissingError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
