"""Times the kernels of an artifact of the relax stack."""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd import artifact
from tvmkd.base import wire

WARMUP = 3


def profile(folder: Path, inputs: Path | None, repeats: int) -> list[dict[str, Any]]:
    """Times each kernel's calls inside whole runs of the model, in a process of its own.

    Args:
        folder: an artifact that runs on this machine.
        inputs: ``.npz`` of samples; None: random ones.
        repeats: number of timed runs, after a few untimed ones.

    Returns:
        one row a kernel, slowest first: ``kernel``, ``calls`` (a run), ``us`` (median time a run,
        all its calls together), ``share``, ``places`` (in the run's sequence of calls) and, for the
        kernels of the artifact, ``task_key``, ``kind``, ``flop`` (a call) and ``gflops``. The row
        ``(between kernels)`` holds the rest of a run's time. The timer's own cost, about a
        microsecond a call, is included in the kernels' times.

    Raises:
        InputError: the artifact cannot be loaded here.
    """
    manifest, library = artifact.read_with_library(folder)
    artifact.check_machine(manifest, folder)
    with wire.Child([sys.executable, "-m", "tvmkd.stacks.relax.profile"]) as child:
        rows: list[dict[str, Any]] = child.call(
            "profile",
            {
                "library": str(library),
                "specs": [spec.model_dump() for spec in manifest.inputs],
                "inputs": None if inputs is None else str(inputs),
                "repeats": max(1, repeats),
            },
            timeout=600,
        )
    facts = manifest.coverage.get("kernels", {})
    for row in rows:
        known = facts.get(row["kernel"])
        if known is not None:
            row.update(task_key=known["key"], kind=known["kind"], flop=known["flop"])
            row["gflops"] = known["flop"] * row["calls"] / row["us"] / 1e3
    return rows


def _profile(params: dict[str, Any], _emit: wire.Event) -> list[dict[str, Any]]:
    from tvmkd.base.given_inputs import real_samples
    from tvmkd.base.random_inputs import random_sample
    from tvmkd.byoc import regions
    from tvmkd.runtime.tvm_process import without_torch

    without_torch()
    import tvm
    from tvm import relax

    regions.install(tvm)
    specs = params["specs"]
    real = real_samples(Path(params["inputs"]) if params["inputs"] else None, specs, most=1)
    sample = real[0] if real else random_sample(np.random.default_rng(0), specs)
    args = [tvm.runtime.tensor(sample[spec["name"]]) for spec in specs]
    machine = relax.VirtualMachine(tvm.runtime.load_module(params["library"]), tvm.cpu())
    started: list[float] = []
    times: dict[str, float] = defaultdict(float)
    places: dict[str, list[int]] = defaultdict(list)
    number = 0
    clock = time.perf_counter

    def instrument(_func: Any, symbol: str, before: bool, _value: Any, *_args: Any) -> int:
        nonlocal number
        if before:
            started.append(clock())
        else:
            times[symbol] += clock() - started.pop()
            places[symbol].append(number)
            number += 1
        return 0

    run = machine["main"]
    for _ in range(WARMUP):
        run(*args)
    plain = []
    for _ in range(params["repeats"]):
        begin = clock()
        run(*args)
        plain.append(clock() - begin)
    machine.set_instrument(instrument)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(params["repeats"]):
        times.clear()
        places.clear()
        number = 0
        run(*args)
        for symbol, seconds in times.items():
            found[symbol].append(seconds)
    medians = {symbol: statistics.median(values) for symbol, values in found.items()}
    rest = max(0.0, statistics.median(plain) - sum(medians.values()))
    total = sum(medians.values()) + rest
    rows = [
        {
            "kernel": symbol,
            "calls": len(places[symbol]),
            "us": seconds * 1e6,
            "share": seconds / total,
            "places": places[symbol],
        }
        for symbol, seconds in medians.items()
    ]
    rows.append(
        {
            "kernel": "(between kernels)",
            "calls": 1,
            "us": rest * 1e6,
            "share": rest / total,
            "places": [],
        }
    )
    return sorted(rows, key=lambda row: -row["us"])


if __name__ == "__main__":
    wire.serve({"profile": _profile})
