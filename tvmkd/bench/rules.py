"""The rules of a fair comparison, checked before any work starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tvmkd.base import engine_registry
from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.text import listing
from tvmkd.bench import machine
from tvmkd.bench.engines import engine_class
from tvmkd.bench.engines.base import Device
from tvmkd.bench.options import CompareOptions
from tvmkd.bench.spec import EngineSpec


def check_call(
    specs: Sequence[EngineSpec], onnx: Path, options: CompareOptions
) -> tuple[list[int], int, int]:
    """Checks the arguments of `tvmkd.bench.measure.compare` and raises as it documents.

    Returns:
        the CPUs, the number of threads and the number of rounds to use.
    """
    if not specs:
        raise UsageError("compare: no engines were named")
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"compare: two engines are called {twice[0]!r}: give one another name")
    on_board = [spec.name for spec in specs if engine_class(spec.kind).link is not None]
    elsewhere = [spec.name for spec in specs if spec.name not in on_board]
    if on_board and elsewhere:
        raise UsageError(
            f"compare: {listing(on_board)} run on a board and {listing(elsewhere)} here: a "
            "comparison is made on one device"
        )
    for spec in specs:
        known = engine_class(spec.kind).tolerance
        if spec.precision not in known:
            raise UsageError(
                f"compare: engine {spec.name}: precision {spec.precision!r} is not one of "
                f"{', '.join(known)}"
            )
    threads = check_options(options)
    builds = options.builds
    if builds > 1 and not any(map(is_built, specs)):
        could = [name for name in engine_registry.ENGINES if engine_class(name).built_here]
        raise UsageError(
            f"compare: {builds} builds of nothing: {listing(names)} are not built here, "
            f"{listing(could)} would be"
        )
    if not onnx.is_file():
        raise InputError(f"{onnx}: no such file")
    return machine.choose_cpus(threads), threads, options.rounds + options.rounds % 2


def check_options(options: CompareOptions) -> int:
    """Checks what can be checked of the options before the engines are known.

    Returns:
        the number of threads.

    Raises:
        UsageError: a number is not valid, or two options do not go together.
    """
    available = len(machine.available_cpus())
    threads = options.threads or available
    if not 1 <= threads <= available:
        raise UsageError(f"compare: {threads} threads on {available} CPUs: at most one a CPU")
    budget, builds, processes = options.budget_ms, options.builds, options.processes
    numbers = (options.seconds, options.rounds, builds, budget, processes)
    if not all(number is None or number > 0 for number in numbers):
        raise UsageError(
            "compare: seconds, rounds, processes, builds and the budget must be above zero"
        )
    if builds > 1 and (processes or 1) > 1:
        raise UsageError(
            "compare: every build has a process of its own: give --builds or --processes"
        )
    return threads


LEAST, MOST = 3, 10
"""Processes of each engine: Student's t is 4.3 for three of them, and 2.3 for ten."""


def processes(specs: Sequence[EngineSpec], options: CompareOptions, start_seconds: float) -> int:
    """How often each engine is started.

    Args:
        start_seconds: what it took to start every engine once, warm-up included.

    Returns:
        ``options.processes``; without it as many as take as long to start as all measuring, but
        from `LEAST` to `MOST`. One on a board, and where builds are repeated.
    """
    if options.processes is not None:
        return options.processes
    if options.builds > 1 or any(engine_class(spec.kind).link is not None for spec in specs):
        return 1
    measuring = options.seconds * len(specs)
    return min(MOST, max(LEAST, int(measuring / max(start_seconds, 1e-3))))


def rounds_of_each(rounds: int, processes: int) -> int:
    """The rounds of each process: an even number, since every other round is in reverse order."""
    share = -(-rounds // processes)
    return share + share % 2


def device(spec: EngineSpec) -> Device | None:
    """The device that the engine computes on; None if only its process knows."""
    return engine_class(spec.kind).device_of(spec)


def cuda_graph(
    specs: Sequence[EngineSpec], wanted: bool | None
) -> tuple[list[EngineSpec], bool | None]:
    """Enables CUDA graphs for all engines on a GPU, or for none of them.

    Args:
        wanted: None: according to the engines' options, which must agree.

    Returns:
        the engines, and whether graphs are used; None if no engine runs on a GPU.

    Raises:
        UsageError: one of them cannot run as a CUDA graph, or the options differ.
    """
    on_gpu = [spec.name for spec in specs if device(spec) == "GPU"]
    options = {spec.options.get("cuda_graph", False) for spec in specs if spec.name in on_gpu}
    if wanted is None and len(options) > 1:
        raise UsageError(
            "compare: a CUDA graph for all engines on the GPU or for none: the option cuda_graph "
            f"of {listing(on_gpu)} differs"
        )
    graph = options == {True} if wanted is None else wanted
    able = {spec.name for spec in specs if engine_class(spec.kind).captures(spec)}
    unable = [name for name in on_gpu if name not in able]
    if graph and not on_gpu:
        raise UsageError("compare: no engine here runs on a GPU, so there is no CUDA graph to make")
    if graph and unable:
        raise UsageError(
            f"compare: a CUDA graph for all engines on the GPU or for none, and {listing(unable)} "
            "cannot run through one: compare without (--no-cuda-graph) or leave them out"
        )
    made = [
        replace(spec, options={**spec.options, "cuda_graph": graph})
        if spec.name in on_gpu and spec.name in able
        else spec
        for spec in specs
    ]
    return made, graph if on_gpu else None


def is_built(spec: EngineSpec) -> bool:
    """True if another build of the engine may differ: by its class, or its option ``rebuild``."""
    return engine_class(spec.kind).built_here or bool(spec.options.get("rebuild", False))


def each_build(spec: EngineSpec, builds: int) -> list[EngineSpec]:
    """One specification for each build of the engine, without the engine cache.

    Their option ``build`` numbers the builds from one.
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
