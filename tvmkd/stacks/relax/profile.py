"""Times the kernels of an artifact of the relax stack."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd import artifact
from tvmkd.base import wire
from tvmkd.stacks.relax.kernel_times import Mark, rows, spans
from tvmkd.stacks.relax.recorder import Recorder

WARMUP = 3
clock = time.monotonic_ns


def profile(
    folder: Path, inputs: Path | None, repeats: int, onnx: Path | None = None
) -> list[dict[str, Any]]:
    """Times each kernel's calls inside whole runs of the model, in a process of its own.

    Args:
        folder: an artifact that runs on this machine.
        inputs: ``.npz`` of samples; None: random ones.
        repeats: number of timed runs, after a few untimed ones.
        onnx: the model, to find the nodes that each kernel computes; None: they are not looked for.

    Returns:
        the rows of `tvmkd.stacks.relax.kernel_times.rows`; those of the artifact's kernels also
        have ``task_key``, ``kind``, ``flop`` (a call) and ``gflops``. With ``onnx`` all kernels
        have ``bytes`` (of a call's arguments) and ``each_nodes`` (names of nodes, for each call).
        The kernels are timed by compiled code inside whole runs, in turns with runs without it.

    Raises:
        InputError: the artifact cannot be loaded here.
        MissingError: there is no C compiler.
    """
    manifest, library = artifact.read_with_library(folder)
    artifact.check_machine(manifest, folder)
    artifact.require_tvm(manifest, folder, "a profile")
    with wire.Child([sys.executable, "-m", "tvmkd.stacks.relax.profile"]) as child:
        found: list[dict[str, Any]] = child.call(
            "profile",
            {
                "library": str(library),
                "specs": [spec.model_dump() for spec in manifest.inputs],
                "inputs": None if inputs is None else str(inputs),
                "repeats": max(1, repeats),
                "onnx": None if onnx is None else str(onnx),
            },
            timeout=600,
        )
    facts = manifest.coverage.get("kernels", {})
    for row in found:
        known = facts.get(row["kernel"])
        if known is not None:
            row.update(task_key=known["key"], kind=known["kind"], flop=known["flop"])
            row["gflops"] = known["flop"] * row["calls"] / row["us"] / 1e3
    return found


def _profile(params: dict[str, Any], _emit: wire.Event) -> list[dict[str, Any]]:
    from tvmkd.base.given_inputs import real_samples
    from tvmkd.base.random_inputs import random_sample
    from tvmkd.byoc import regions
    from tvmkd.runtime.call_timer import CallTimer
    from tvmkd.runtime.tvm_process import load_extra, without_torch

    without_torch()
    import tvm
    from tvm.runtime.vm import VirtualMachine

    load_extra(tvm)
    regions.install(tvm, tvm.runtime.tensor)
    specs = params["specs"]
    real = real_samples(Path(params["inputs"]) if params["inputs"] else None, specs, most=1)
    sample = real[0] if real else random_sample(np.random.default_rng(0), specs)
    args = [tvm.runtime.tensor(sample[spec["name"]]) for spec in specs]
    library = tvm.runtime.load_module(params["library"])
    marks: list[Mark] = []

    def note(_func: Any, symbol: str, before: bool, *_: Any) -> int:
        marks.append(Mark(str(symbol), bool(before)))
        return 0

    plain = VirtualMachine(library, tvm.cpu())
    timed = VirtualMachine(library, tvm.cpu())
    timed.set_instrument(note)
    timed["main"](*args)
    timer = CallTimer(tvm)
    timed.set_instrument(timer.instrument)
    runs, begins, seconds = [], [], []
    for number in range(-WARMUP, params["repeats"]):
        begin = clock()
        plain["main"](*args)
        took = clock() - begin
        timer.start(len(marks))
        began = clock()
        timed["main"](*args)
        if number >= 0:
            seconds.append(took / 1e9)
            begins.append(began)
            runs.append(spans(marks, timer.ticks().tolist()))
    found = rows(runs, begins, seconds)
    if params["onnx"] is not None:
        recorder = Recorder(tvm.runtime.Tensor)
        timed.set_instrument(recorder)
        timed["main"](*args)
        recorder.complete(found, Path(params["onnx"]), sample)
    return found


if __name__ == "__main__":
    wire.serve({"profile": _profile})
