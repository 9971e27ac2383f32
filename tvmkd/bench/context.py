"""The machine of a comparison, and warnings about anything that makes the results less reliable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tvmkd.base.text import listing
from tvmkd.bench import machine, schema
from tvmkd.bench.engines import engine_class

BUSY_WARNING = 0.15
GPU_BUSY_WARNING = 10.0
"""%; a desktop's display takes a few."""


def context(
    engines: Sequence[schema.Engine],
    before: dict[str, Any],
    after: dict[str, Any],
    gpu: schema.Gpu | None = None,
) -> schema.Context:
    """Describes the machine that the engines ran on: this one, or the board.

    Args:
        engines: the measured engines.
        before, after: state of this machine, from `tvmkd.bench.machine.weather`.
        gpu: this machine's GPU, if an engine ran on it.
    """
    facts = machine.facts()
    boards = [engine.facts["board"] for engine in engines if "board" in engine.facts]
    board = boards[0] if boards else None
    temperature, mhz = (
        [each[name] for each in (before, after)] for name in ("temperature_c", "mhz")
    )
    if board is not None:
        heat = [value for engine in engines for value in engine.facts["celsius"]]
        facts.update(
            machine=board.get("machine") or "unknown",
            system=f"Linux {board.get('kernel') or 'of an unknown version'}",
            cpu=board.get("cpu") or "unknown",
            cpus=board.get("cores") or 0,
            memory_bytes=board.get("memory_bytes"),
            governor=board.get("governor"),
            turbo=None,
        )
        temperature, mhz = [heat[0], heat[-1]] if heat else [None, None], [None, None]
    return schema.Context(
        **facts,
        temperature_c=temperature,
        mhz=mhz,
        load_1min=[before["load_1min"], after["load_1min"]],
        versions={e.name: str(e.facts["version"]) for e in engines if "version" in e.facts},
        board=board,
        emulated=bool(board and board.get("emulated")),
        gpu=gpu,
        clocks_locked=_locked(engines, board, gpu),
    )


def _locked(
    engines: Sequence[schema.Engine], board: dict[str, Any] | None, gpu: schema.Gpu | None
) -> bool | None:
    """Whether the clocks of the GPU here or of the board were locked; None: unknown."""
    if board is None:
        on_gpu = any(engine.device == "GPU" for engine in engines)
        return gpu.locked if gpu is not None else (False if on_gpu else None)
    said = [clock["min"] == clock["max"] for clock in board.get("clocks_khz") or []]
    for engine in engines:
        said += [clock["locked"] for clock in [engine.facts.get("gpu_clock_hz")] if clock]
    return all(said) if said else None


def warnings(engines: Sequence[schema.Engine], where: schema.Context) -> list[str]:
    """Possible problems of the results, one sentence each."""
    found = _of_clocks(where)
    if any(engine.facts.get("board", {}).get("emulated") for engine in engines):
        found.append("EMULATED: QEMU's times say nothing about a real board")
    if any(engine.facts.get("throttled") for engine in engines):
        found.append("the board was throttled while it was measured: cool it and measure again")
    for engine in engines:
        if not engine.warm_up["stable"]:
            found.append(
                f"{engine.name} did not settle in {engine.warm_up['seconds']:.1f} s of warm-up: "
                f"its last blocks differed by {engine.warm_up['spread']:.0%}"
            )
        if len(engine.samples_ms) < 200:
            found.append(
                f"{engine.name}: {len(engine.samples_ms)} calls are few for a p99: "
                "take more seconds"
            )
    once = [
        engine.name
        for engine in engines
        if engine_class(engine.kind).built_here and len(engine.builds) < 2
    ]
    if once and len(engines) > 1:
        found.append(
            f"{listing(once)}: timed in one build, and another may have other tactics: --builds 3 "
            "tells how much that matters"
        )
    here = [engine for engine in engines if "board" not in engine.facts]
    busy = [engine for engine in here if (engine.other_cpu or 0) > BUSY_WARNING]
    if busy:
        most = max(engine.other_cpu or 0 for engine in busy)
        found.append(
            f"the machine was not idle: other processes used up to {most:.2f} CPUs while "
            f"{listing(engine.name for engine in busy)} ran"
        )
    return found


def _of_clocks(where: schema.Context) -> list[str]:
    found = []
    if where.clocks_locked is False and where.board is not None:
        found.append("the board's clocks were unlocked: sudo jetson_clocks holds them")
    elif where.clocks_locked is False:
        how = "sudo nvidia-smi --lock-gpu-clocks=MHZ holds them"
        known = [] if where.gpu is None else [mhz for mhz in where.gpu.sm_mhz if mhz is not None]
        seen = f"{min(known):.0f} to {max(known):.0f} MHz" if known else "nvidia-smi tells of none"
        found.append(f"the GPU's clocks were unlocked ({seen}): {how}")
    if where.gpu is not None:
        found += _of_gpu(where.gpu)
    return found


def _of_gpu(gpu: schema.Gpu) -> list[str]:
    found = []
    if gpu.slowed_by:
        found.append(f"the GPU was slowed down while it was measured: {listing(gpu.slowed_by)}")
    busy = (gpu.busy_before or 0) > GPU_BUSY_WARNING
    if busy or gpu.others:
        share = f"{gpu.busy_before:.0f} % of the time" if busy else "processes were open on it"
        names = f": {listing(gpu.others)}" if gpu.others else ""
        found.append(f"the GPU was not idle before the comparison began ({share}{names})")
    if gpu.mig:
        found.append(
            "the GPU is divided (MIG): engines ran on a slice of it, and its clocks and power are "
            "those of the whole"
        )
    return found


def marked(verdict: schema.Verdict, engines: Sequence[schema.Engine]) -> schema.Verdict:
    """The verdict, with a remark before it on emulated times, and after it on different devices."""
    devices = {
        device: [engine.name for engine in engines if engine.device == device]
        for device in ("GPU", "CPU")
    }
    if all(devices.values()):
        told = ", ".join(f"{listing(names)} on the {device}" for device, names in devices.items())
        sentence = f"{verdict.sentence} These are not the same device: {told}."
        verdict = verdict.model_copy(update={"sentence": sentence})
    if any(engine.facts.get("board", {}).get("emulated") for engine in engines):
        sentence = f"On an emulated board, whose times mean nothing: {verdict.sentence}"
        return verdict.model_copy(update={"sentence": sentence})
    return verdict


def weak_check(wanted: Sequence[Sequence[np.ndarray]]) -> list[str]:
    """Warns if the reference outputs are the same for all inputs: then the check proves little."""
    if len(wanted) < 2:
        return []
    for index, first in enumerate(wanted[0]):
        if any(not np.array_equal(first, sample[index]) for sample in wanted[1:]):
            return []
    text = (
        "the model gives the same outputs for every input, so that they agree says little: "
        "is it trained, are the inputs real ones?"
    )
    return [text]
