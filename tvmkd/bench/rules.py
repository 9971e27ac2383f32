"""What a comparison keeps to, to be fair: made sure of before any work."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tvmkd import artifact
from tvmkd.base.errors import InputError, TvmkdError, UsageError
from tvmkd.base.text import listing
from tvmkd.base.tolerance import ENGINE
from tvmkd.bench import machine
from tvmkd.bench.engines import (
    ARTIFACTS,
    BOARD_KINDS,
    GPU_KINDS,
    KINDS,
    ON_BOARD,
    TENSORRT_ON_BOARD,
    check_kind,
)
from tvmkd.bench.spec import EngineSpec

Device = Literal["CPU", "GPU"]

BUILT = frozenset({"tensorrt", "tensorrt-rtx", "onnxruntime:tensorrt", TENSORRT_ON_BOARD})
"""The kinds that build an engine here, and choose its tactics by what they measure meanwhile."""

GRAPHED = frozenset({"tensorrt", "tensorrt-rtx"})
"""The kinds that can run through a CUDA graph."""


def check_call(
    specs: Sequence[EngineSpec],
    onnx: Path,
    threads: int | None,
    seconds: float,
    rounds: int,
    builds: int,
    budget_ms: float | None,
) -> tuple[list[int], int, int]:
    """The CPUs, the threads and the rounds to use; as `tvmkd.bench.measure.compare` raises."""
    if not specs:
        raise UsageError("compare: no engines were named")
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"compare: two engines are called {twice[0]!r}: give one another name")
    on_board = [spec.name for spec in specs if spec.kind in BOARD_KINDS]
    elsewhere = [spec.name for spec in specs if spec.kind not in BOARD_KINDS]
    if on_board and elsewhere:
        raise UsageError(
            f"compare: {listing(on_board)} run on a board and {listing(elsewhere)} here: a "
            "comparison is made on one device"
        )
    for spec in specs:
        check_kind(spec.kind)
        if spec.precision not in ENGINE:
            raise UsageError(
                f"compare: engine {spec.name}: precision {spec.precision!r} is not one of "
                f"{', '.join(ENGINE)}"
            )
    available = len(machine.available_cpus())
    threads = threads or available
    if not 1 <= threads <= available:
        raise UsageError(f"compare: {threads} threads on {available} CPUs: at most one a CPU")
    if not (seconds > 0 and rounds > 0 and builds > 0 and (budget_ms is None or budget_ms > 0)):
        raise UsageError("compare: seconds, rounds, builds and the budget must be above zero")
    if builds > 1 and not any(map(is_built, specs)):
        raise UsageError(
            f"compare: {builds} builds of nothing: {listing(names)} are not built here, "
            f"{listing(sorted(BUILT))} would be"
        )
    if not onnx.is_file():
        raise InputError(f"{onnx}: no such file")
    return machine.choose_cpus(threads), threads, rounds + rounds % 2


def device(spec: EngineSpec) -> Device | None:
    """What the engine computes on; None where only it knows."""
    if spec.kind in GPU_KINDS or spec.kind == TENSORRT_ON_BOARD:
        return "GPU"
    if spec.kind not in ARTIFACTS and spec.kind != ON_BOARD:
        return "CPU" if spec.kind in KINDS else None
    # What is wrong with an artifact the engine says itself.
    with contextlib.suppress(TvmkdError):
        manifest = artifact.read(Path(spec.path or ""), verify=False)
        handed = manifest.coverage.get("byoc") or {}
        to_gpu = bool(handed.get("regions")) and str(handed.get("engine")).startswith("tensorrt")
        return "GPU" if to_gpu or manifest.target.get("device") == "cuda" else "CPU"
    return None


def cuda_graph(
    specs: Sequence[EngineSpec], wanted: bool | None
) -> tuple[list[EngineSpec], bool | None]:
    """The engines with CUDA graphs for all that run on a GPU, or for none of them.

    Args:
        wanted: None goes by the engines' own options, which have to agree.

    Returns:
        the engines, and whether graphs are used; None without an engine on a GPU.

    Raises:
        UsageError: one of them cannot run through a graph, or the options differ.
    """
    on_gpu = [spec.name for spec in specs if device(spec) == "GPU"]
    options = {spec.options.get("cuda_graph", False) for spec in specs if spec.name in on_gpu}
    if wanted is None and len(options) > 1:
        raise UsageError(
            "compare: a CUDA graph for all engines on the GPU or for none: the option cuda_graph "
            f"of {listing(on_gpu)} differs"
        )
    graph = options == {True} if wanted is None else wanted
    unable = [spec.name for spec in specs if spec.name in on_gpu and spec.kind not in GRAPHED]
    if graph and not on_gpu:
        raise UsageError("compare: no engine here runs on a GPU, so there is no CUDA graph to make")
    if graph and unable:
        raise UsageError(
            f"compare: a CUDA graph for all engines on the GPU or for none, and {listing(unable)} "
            "cannot run through one: compare without (--no-cuda-graph) or leave them out"
        )
    made = [
        replace(spec, options={**spec.options, "cuda_graph": graph})
        if spec.name in on_gpu and spec.kind in GRAPHED
        else spec
        for spec in specs
    ]
    return made, graph if on_gpu else None


def is_built(spec: EngineSpec) -> bool:
    """Whether another build of the engine can differ: its kind, or its own option ``rebuild``."""
    return spec.kind in BUILT or bool(spec.options.get("rebuild", False))


def each_build(spec: EngineSpec, builds: int) -> list[EngineSpec]:
    """One engine for each of its builds, none of them from a cache.

    Their option ``build`` counts from one.
    """
    if builds == 1 or not is_built(spec):
        return [spec]
    return [
        replace(
            spec,
            name=f"{spec.name} (build {number})",
            options={**spec.options, "rebuild": True, "build": number},
        )
        for number in range(1, builds + 1)
    ]
