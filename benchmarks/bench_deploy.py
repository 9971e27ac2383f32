#!/usr/bin/env python
"""Standalone libraries against the same kernels on TVM's virtual machine, and ONNX Runtime.

Six networks are built for this machine with the records that ship with tvmkd. All three are called
from Python in processes of their own, which take turns (`tvmkd.bench.compare`). What a C program
pays is measured with ``tvmkd-run``: memory beside weights, arena, inputs and outputs, and the time
to open, of the static program with the model linked in; a call and a kernel of networks that
compute next to nothing; and the CPU that a pool of threads takes between 30 calls a second. The
tail is that of 100,000 calls of the student.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _common import Result, finish, parser
from _networks import EDGE12, NETWORKS, STUDENT, onnx_file
from onnx import TensorProto, helper, numpy_helper

from tvmkd import targets
from tvmkd.artifact import MANIFEST
from tvmkd.base import machine
from tvmkd.base.runtimes import STANDALONE
from tvmkd.bench import CompareOptions, EngineSpec, compare
from tvmkd.deploy.native_programs import run_program
from tvmkd.stacks.compile import build

SIX = [*NETWORKS, "squeezenet1_1"]
OURS, MACHINE, PEER = "standalone", "vm", "onnxruntime"
BAR_STUDENT, BAR_MACHINE, BAR_TAIL = 0.6, 1.0, 1.0
BAR_MEMORY, BAR_OPEN = 1.5, 2.0  # MB; ms
BAR_CALL, BAR_KERNEL, BAR_IDLE = 1.0, 0.1, 1.0  # us, us, % of one core
KERNELS = 101
TAIL_RUNS, TAIL_SECONDS = 5, 2.0  # of 20,000 calls of each engine
MB = 1 << 20


def artifacts(onnx_path: Path, work: Path) -> tuple[Path, Path]:
    """The standalone artifact and that for TVM's runtime, from the same records."""
    found = []
    for runtime in (STANDALONE, "tvm"):
        out = work / f"{onnx_path.stem}-{runtime}"
        if not (out / MANIFEST).exists():
            build(onnx_path, targets.load("host"), [], out, runtime=runtime)
        found.append(out)
    return found[0], found[1]


def in_turns(name: str, onnx_path: Path, ours: Path, vm: Path, args: Any) -> list[Result]:
    """The ratios of the medians of one network."""
    specs = [
        EngineSpec(PEER, PEER, onnx_path),
        EngineSpec(MACHINE, "tvm", vm),
        EngineSpec(OURS, "tvm", ours),
    ]
    options = CompareOptions(threads=args.threads, seconds=args.seconds)
    engines = {each.name: each for each in compare(specs, onnx_path, options=options).engines}
    ours_ms, vm_ms, peer_ms = (engines[each].p50 for each in (OURS, MACHINE, PEER))
    note = f"{ours_ms:.4f} ms, vm {vm_ms:.4f}, onnxruntime {peer_ms:.4f}"
    bar = BAR_STUDENT if name == STUDENT else None
    return [
        Result(f"{name}: standalone over onnxruntime", ours_ms / peer_ms, bar, note=note),
        Result(f"{name}: standalone over vm", ours_ms / vm_ms, BAR_MACHINE),
    ]


def timed(program: Path, *words: str) -> dict[str, Any]:
    """What ``tvmkd-run --json`` says."""
    command = [str(program), *words, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def c_process(name: str, ours: Path, args: Any) -> list[Result]:
    """Memory and opening of the static program, medians of fresh processes."""
    archive = next(ours.glob("*.a"))
    program = run_program(targets.load("host"), archive=archive)
    words = (
        "--threads",
        str(args.threads),
        "--iterations",
        "20",
        "--duration",
        "0",
        "--warmUp",
        "0",
    )
    runs = [timed(program, *words) for _ in range(args.rounds + 1)][1:]
    shared = timed(run_program(targets.load("host")), str(next(ours.glob("*.so"))), *words)
    given = sum(each["bytes"] for kind in ("inputs", "outputs") for each in runs[0][kind]) / MB
    known = (runs[0]["weight_bytes"] + runs[0]["arena_bytes"]) / MB + given
    more = [run["resident_bytes"] / MB - known for run in runs]
    opened = [run["load_ms"] + run["open_ms"] for run in runs]
    dynamic = shared["resident_bytes"] / MB - known
    note = f"they are {known:.1f}, with buffers of {given:.2f}; with dlopen {dynamic:.2f}"
    return [
        Result(f"{name}: MB beside weights, arena and buffers", statistics.median(more), BAR_MEMORY,
               ratios=more, note=note),
        Result(f"{name}: opening, ms", statistics.median(opened), BAR_OPEN, ratios=opened,
               note=f"with dlopen {shared['load_ms'] + shared['open_ms']:.2f}"),
    ]  # fmt: skip


def chain(path: Path, kernels: int) -> Path:
    """A network of so many kernels of a few instructions, which no compiler joins."""
    nodes, weights = [], []
    for number in range(kernels):
        weights.append(numpy_helper.from_array(np.eye(4, dtype=np.float32) * 0.9, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [f"t{number}", f"w{number}"], [f"t{number + 1}"]))
    infos = [
        helper.make_tensor_value_info(each, TensorProto.FLOAT, [1, 4])
        for each in ("t0", f"t{kernels}")
    ]
    graph = helper.make_graph(nodes, "chain", infos[:1], infos[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def chains(work: Path) -> list[Path]:
    """Libraries of one and of many kernels that compute next to nothing."""
    found = []
    for kernels in (1, KERNELS):
        out = work / f"chain{kernels}"
        if not (out / MANIFEST).exists():
            path = chain(work / f"chain{kernels}.onnx", kernels)
            build(path, targets.load("host"), [], out, runtime=STANDALONE)
        found.append(next(out.glob("*.so")))
    return found


def fixed_costs(work: Path) -> list[Result]:
    """Of a call and of a kernel, in microseconds, with what the kernels compute."""
    program = run_program(targets.load("host"))
    one, many = (
        timed(program, str(library))["latency_ms"]["median"] * 1e3 for library in chains(work)
    )
    return [
        Result("a call of one tiny kernel, us", one, BAR_CALL),
        Result("a kernel, us", (many - one) / (KERNELS - 1), BAR_KERNEL),
    ]


def tails(ours: Path, onnx_path: Path, threads: int) -> list[Result]:
    """p99.9 of the student, called from Python in processes of their own."""
    specs = [EngineSpec(PEER, PEER, onnx_path), EngineSpec(OURS, "tvm", ours)]
    options = CompareOptions(threads=threads, seconds=TAIL_SECONDS)
    samples: dict[str, list[float]] = {OURS: [], PEER: []}
    for _ in range(TAIL_RUNS):
        for each in compare(specs, onnx_path, options=options).engines:
            samples[each.name] += each.samples_ms
    tail = {side: float(np.percentile(each, 99.9)) * 1e3 for side, each in samples.items()}
    note = f"{tail[OURS]:.1f} us of {len(samples[OURS]):,} calls, "
    note += f"onnxruntime {tail[PEER]:.1f} us of {len(samples[PEER]):,}"
    return [Result("p99.9 of the student over onnxruntime", tail[OURS] / tail[PEER], BAR_TAIL,
                   note=note)]  # fmt: skip


def idle(ours: Path, threads: int) -> Result:
    """CPU of the whole process at 30 calls a second, in percent of one core."""
    program = run_program(targets.load("host"))
    words = (str(next(ours.glob("*.so"))), "--threads", str(threads), "--fps", "30")
    found = timed(program, *words, "--duration", "10")
    return Result("CPU at 30 calls a second, %", found["cpu_percent"], BAR_IDLE)


def main() -> int:
    """Builds, then measures."""
    options = parser(__doc__ or "")
    options.add_argument("--threads", type=int, default=machine.physical_cores())
    options.add_argument("--seconds", type=float, default=4.0, help="a network and engine")
    options.add_argument("--rounds", type=int, default=7, help="processes that are opened")
    options.add_argument("--work", type=Path, help="keep artifacts here, and use those there")
    options.add_argument("--build-only", action="store_true", help="measure in another run")
    options.add_argument("--networks", nargs="+", choices=[*NETWORKS, *EDGE12], default=SIX)
    args = options.parse_args()
    rows: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="tvmkd-deploy-") as folder:
        work = args.work or Path(folder)
        for name in args.networks:
            path = onnx_file(name, work)
            ours, vm = artifacts(path, work)
            if args.build_only:
                continue
            rows += in_turns(name, path, ours, vm, args)
            rows += c_process(name, ours, args)
            if name == STUDENT:
                rows += [*tails(ours, path, args.threads), idle(ours, args.threads)]
        chains(work)
        rows += [] if args.build_only else fixed_costs(work)
    return finish(rows, args.json)


if __name__ == "__main__":
    sys.exit(main())
