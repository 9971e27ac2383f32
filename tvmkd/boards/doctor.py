"""What ``tvmkd board doctor`` looks at: whether a board fits, is calm, and computes right."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tvmkd import wire
from tvmkd.boards import match
from tvmkd.doctor import GIB, Check
from tvmkd.errors import MissingError, TvmkdError
from tvmkd.targets import Target

MEMORY_WANTED = GIB // 2
SLOW_ROUND_TRIP_MS = 20.0
NOISE = 0.1  # the quartiles' distance over the median
TRIAL_SECONDS = 240.0
SIZE = 128  # rows of the matrix product whose answer is known


def examine(target: Target, facts: Mapping[str, Any]) -> Iterator[Check]:
    """What a board's facts say of it, as far as it knows them.

    Args:
        target: what is to run there.
        facts: what ``tvmkd.board.facts`` answers.
    """
    reasons = match.mismatches(target.to_dict(), facts)
    for reason in reasons:
        yield Check("fit", "fail", reason, "give another --target, or mend the board's key")
    if not reasons:
        named = facts.get("model") or facts.get("cpu") or "a server that says nothing of itself"
        yield Check("fit", "ok", f"{named} fits {target.name}")
    if facts.get("emulated"):
        yield Check("emulated", "warn", f"{facts.get('emulator')}: its times mean nothing")
    yield from _calm(target, facts)
    free = facts.get("memory_available_bytes")
    if free is not None and free < MEMORY_WANTED:
        fix = "sudo systemctl isolate multi-user.target (ends the desktop)"
        yield Check("memory", "warn", f"{free / GIB:.1f} GiB are free", fix)
    threads, cores = facts.get("tvm_num_threads"), facts.get("cores")
    wanted = (target.host or target.tvm).get("num-cores")
    if cores and threads is None:
        fix = f"start the server with TVM_NUM_THREADS={wanted or cores}"
        yield Check("threads", "warn", f"TVM takes half of its {cores} cores", fix)
    elif threads and wanted and threads != wanted and not facts.get("emulated"):
        fix = f"start the server with TVM_NUM_THREADS={wanted}"
        yield Check("threads", "warn", f"{threads}, and {target.name} has {wanted} cores", fix)


def _calm(target: Target, facts: Mapping[str, Any]) -> Iterator[Check]:
    """Power mode, governor, clocks and heat."""
    steady = (
        "sudo jetson_clocks" if facts.get("l4t") else "sudo cpupower frequency-set -g performance"
    )
    mode = facts.get("nvpmodel")
    if mode is not None:
        full = next((each for each in target.power.get("max", []) if "nvpmodel" in each), None)
        good = mode in {"MAXN", "0"}
        fix = "" if good or full is None else f"sudo {full}"
        yield Check("power mode", "ok" if good else "warn", mode, fix)
    governor = facts.get("governor")
    clocks = facts.get("clocks_khz") or []
    slow = [clock for clock in clocks if clock["now"] < 0.95 * clock["max"]]
    locked = bool(clocks) and all(clock["min"] == clock["max"] for clock in clocks)
    if governor is not None and not locked:
        good = governor == "performance"
        yield Check("governor", "ok" if good else "warn", governor, "" if good else steady)
    if clocks:
        now, most = min(clock["now"] for clock in clocks), max(clock["max"] for clock in clocks)
        text = f"{now / 1e6:.2f} of {most / 1e6:.2f} GHz{', locked' if locked else ''}"
        yield Check("clocks", "warn" if slow else "ok", text, steady if slow else "")
    celsius = facts.get("celsius")
    if facts.get("throttled"):
        yield Check("heat", "fail", f"throttled, at {celsius} C", "cool it: a fan, or wait")
    elif celsius is not None:
        hot = target.thermal and celsius >= target.thermal["pause_celsius"]
        fix = "cool it: a fan, or wait" if hot else ""
        yield Check("heat", "warn" if hot else "ok", f"{celsius} C", fix)


def trial(target: Target, tracker: Mapping[str, Any]) -> Iterator[Check]:
    """Compiles, uploads and runs a kernel whose answer is known, and times it.

    Args:
        tracker: ``{"host", "port", "key"}``.
    """
    params = {"target": target.to_dict(), "tracker": dict(tracker)}
    try:
        with wire.Child([sys.executable, "-m", "tvmkd.boards.doctor"]) as child:
            found = child.call("trial", params, timeout=TRIAL_SECONDS)
    except TvmkdError as error:
        fix = "run the server in a terminal and look at what it says"
        yield Check("kernel", "fail", " ".join(str(error).split()), fix)
        return
    right = found["error"] < 1e-4
    product = "a matrix product" + (" on the GPU" if target.device == "cuda" else "")
    text = f"{product} is {'right' if right else 'WRONG'} (error {found['error']:.1e})"
    fix = "" if right else "the board's TVM or memory is broken: unpack the bundle anew"
    yield Check("kernel", "ok" if right else "fail", f"{text}, at {found['board']}", fix)
    trip = statistics.median(found["round_trips_ms"])
    slow = trip > SLOW_ROUND_TRIP_MS
    fix = "a cable instead of Wi-Fi: ten round trips go with each trial" if slow else ""
    yield Check("round trip", "warn" if slow else "ok", f"{trip:.2f} ms", fix)
    low, middle, high = statistics.quantiles(found["seconds"], n=4)
    spread = (high - low) / middle
    loud = spread > NOISE
    fix = "lock the clocks and end what else runs there" if loud else ""
    text = (
        f"quartiles {spread:.1%} apart over {len(found['seconds'])} runs of {middle * 1e6:.0f} us"
    )
    yield Check("timing noise", "warn" if loud else "ok", text, fix)


def _trial(params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
    """The child's side of :func:`trial`."""
    import subprocess

    import numpy as np
    import tvm
    from tvm import te

    from tvmkd.boards.connect import request
    from tvmkd.stacks import nvrtc, relax_cuda
    from tvmkd.tuning.builder import linker_for
    from tvmkd.tuning.metaschedule import compile_object

    a, b = (te.placeholder((SIZE, SIZE), name=name) for name in "ab")
    k = te.reduce_axis((0, SIZE), name="k")
    c = te.compute((SIZE, SIZE), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    kernel = te.create_prim_func([a, b, c]).with_attr("global_symbol", "main")
    mod, spec, tracker = tvm.IRModule({"main": kernel}), params["target"], params["tracker"]
    target = tvm.target.Target(*filter(None, (spec["tvm"], spec["host"])))
    gpu = nvrtc.settings(spec)
    if gpu is not None:
        nvrtc.install(gpu)
        mod = relax_cuda.with_default_schedules(mod, target)
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / "kernel"
        compile_object(tvm.ir.save_json(mod), tvm.ir.save_json(target), Path(f"{stem}.o"))
        objects = map(os.fspath, sorted(Path(folder).glob("*.o")))
        command = [*linker_for(spec["toolchain"]), "-o", f"{stem}.so", *objects]
        subprocess.run(command, check=True, capture_output=True)
        host, port, key = request(tracker["host"], tracker["port"], tracker["key"], 30.0)
        session = tvm.rpc.connect(host, port, key, session_timeout=120)
        session.upload(f"{stem}.so", target="kernel.so")
        module = session.load_module("kernel.so")
    device = session.device(spec["device"], 0)
    if not device.exist:
        raise MissingError("the board finds no GPU: see docs/cuda.md")
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((SIZE, SIZE)).astype("float32") for _ in "ab")
    arguments = [tvm.runtime.tensor(array, device) for array in (left, right, np.zeros_like(left))]
    module["main"](*arguments)
    wanted = left.astype("float64") @ right
    error = float(np.abs(arguments[2].numpy() - wanted).max() / np.abs(wanted).max())
    echo = session.get_function("runtime.NumThreads")
    trips = []
    for _ in range(50):
        begin = time.perf_counter()
        echo()
        trips.append((time.perf_counter() - begin) * 1e3)
    timer = module.time_evaluator("main", device, number=1, repeat=30)
    seconds = [float(value) for value in timer(*arguments).results]
    return {
        "board": f"{host}:{port}",
        "error": error,
        "round_trips_ms": trips,
        "seconds": seconds,
    }


def main() -> None:
    """Serves until stdin closes."""
    from tvmkd.stacks.tvm_process import die_with_parent, import_compiler

    die_with_parent()
    with contextlib.suppress(KeyboardInterrupt):
        import_compiler()
        wire.serve({"trial": _trial})
    os._exit(0)  # a session's destructor may wait for a board that is gone


if __name__ == "__main__":
    main()
