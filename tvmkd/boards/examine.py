"""What ``tvmkd board doctor`` looks at: whether a board fits, is calm, and computes right."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tvmkd.base import wire
from tvmkd.base.checks import GIB, Check
from tvmkd.base.errors import TvmkdError
from tvmkd.boards import match
from tvmkd.targets import Target

MEMORY_WANTED = GIB // 2
SLOW_ROUND_TRIP_MS = 20.0
NOISE = 0.1  # the quartiles' distance over the median
TRIAL_SECONDS = 240.0
TRIAL = "tvmkd.stacks.relax.trial"  # the process that compiles and runs the trial kernel


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
        with wire.Child([sys.executable, "-m", TRIAL]) as child:
            found = child.call("trial", params, timeout=TRIAL_SECONDS)
    except TvmkdError as error:
        fix = "run the server in a terminal and read its messages"
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
