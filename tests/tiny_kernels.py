"""Tiny TIR tasks for tests of the tuning room; run as a program it tunes them.

TVM is imported in a process of its own, as everywhere: tests start
``python tests/tiny_kernels.py '{"folder": ..., "tracker": ..., ...}'`` and read the events, one
JSON line each, from its standard output.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

TARGET = {
    "name": "tiny",
    "device": "cpu",
    "tvm": {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3", "num-cores": 2},
}


def matmul(size: int) -> Any:
    """The module of a float32 matrix product of two ``(size, size)`` matrices."""
    from tvm import te
    from tvm.s_tir.meta_schedule.tune_context import _normalize_mod

    a = te.placeholder((size, size), name="A")
    b = te.placeholder((size, size), name="B")
    k = te.reduce_axis((0, size), name="k")
    c = te.compute((size, size), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    return _normalize_mod(te.create_prim_func([a, b, c]))


def calling(function: str) -> Any:
    """The module of a kernel that calls a C function without arguments for each element."""
    import tvm
    from tvm import te
    from tvm.s_tir.meta_schedule.tune_context import _normalize_mod

    a = te.placeholder((4,), name="A")
    b = te.compute(
        (4,),
        lambda i: a[i] + tvm.tirx.call_extern("int32", function).astype("float32"),
        name="B",
    )
    return _normalize_mod(te.create_prim_func([a, b]))


def filling(mebibytes: int) -> Any:
    """The module of a kernel that asks for memory and writes all of it."""
    import tvm
    from tvm import te
    from tvm.s_tir.meta_schedule.tune_context import _normalize_mod

    size = tvm.tirx.const(mebibytes << 20, "int64")

    def fill(i: Any) -> Any:
        memory = tvm.tirx.call_extern("handle", "malloc", size)
        filled = tvm.tirx.call_extern("handle", "memset", memory, 1, size)
        return a[i] + tvm.tirx.call_extern("int32", "strnlen", filled, 1).astype("float32")

    a = te.placeholder((4,), name="A")
    return _normalize_mod(te.create_prim_func([a, te.compute((4,), fill, name="B")]))


class TileSpace:
    """All tilings of the first block's two outer loops: small, quick, enumerable."""

    threads = False

    def __init__(self, mod: Any, tiles: tuple[int, ...] = (1, 2, 4, 8, 16, 32)) -> None:
        self._mod = mod
        self._points = list(itertools.product(tiles, tiles))
        self.size = len(self._points)

    def propose(self, n: int, known: set[str], history: Any, rng: Any) -> list[Any]:
        from tvm.s_tir import Schedule

        from tvmkd.tuning.space import candidate

        found = []
        for number in rng.permutation(len(self._points)):
            inner_i, inner_j = self._points[number]
            schedule = Schedule(self._mod)
            block = schedule.get_sblock("C")
            i, j, *_ = schedule.get_loops(block)
            i_out, i_in = schedule.split(i, [None, inner_i])
            j_out, j_in = schedule.split(j, [None, inner_j])
            schedule.reorder(i_out, j_out, i_in, j_in)
            if self.threads:
                schedule.parallel(i_out)
            new = candidate(schedule)
            if new.key not in known:
                found.append(new)
            if len(found) == n:
                break
        return found


class ThreadSpace(TileSpace):
    """The same, on all cores."""

    threads = True


class LoneSpace:
    """One candidate, the module as it is."""

    size = 1

    def __init__(self, mod: Any) -> None:
        self._mod = mod

    def propose(self, n: int, known: set[str], history: Any, rng: Any) -> list[Any]:
        from tvm.s_tir import Schedule

        from tvmkd.tuning.space import candidate

        new = candidate(Schedule(self._mod))
        return [] if new.key in known else [new]


class WrongSpace:
    """Of a task: the computation of another task, which takes the same arguments and is faster."""

    size = 1

    def __init__(self, task: Any, other: Any) -> None:
        self._task, self._other = task, other

    def propose(self, n: int, known: set[str], history: Any, rng: Any) -> list[Any]:
        from tvmkd.stacks.relay.sketch import candidate

        new, _ = candidate(self._other.mod, self._other.mod.compute_dag.get_init_state())
        return [] if new.key in known else [new]


def plant_wrong(stack: Any, first: Any, other: Any) -> None:
    """Has the space of ``first`` propose ``other``'s computation at the end of its first batch."""
    real = stack.spaces

    class Planted:
        def __init__(self, space: Any) -> None:
            self.size, self._space = space.size, space
            self._wrong = WrongSpace(first, other)

        def propose(self, n: int, known: set[str], history: Any, rng: Any) -> list[Any]:
            wrong = self._wrong.propose(1, known, history, rng)
            return [*self._space.propose(n - len(wrong), known, history, rng), *wrong]

    def spaces(tasks: Any, session: Any, seed: int) -> list[Any]:
        found = zip(tasks, real(tasks, session, seed), strict=True)
        return [Planted(space) if task is first else space for task, space in found]

    stack.spaces = spaces


def relay_task(spec: str, tvm_target: dict[str, Any]) -> Any:
    """``matmul:64`` for AutoScheduler, ``times:64`` for the elementwise product, or ``call:pause``,
    which runs beside a matrix product of 4x4."""
    import tvm
    from tvm import auto_scheduler, te
    from tvm.auto_scheduler.workload_registry import register_workload_tensors

    from tvmkd.tuning.autoscheduler_log import task_key
    from tvmkd.tuning.space import Task

    kind, _, what = spec.partition(":")
    size = 4 if kind == "call" else int(what)
    a, b = (te.placeholder((size, size), name=name) for name in "AB")
    k = te.reduce_axis((0, size), name="k")
    c = te.compute((size, size), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    if kind == "times":
        c = te.compute((size, size), lambda i, j: a[i, j] * b[i, j], name="E")
    if kind == "call":
        c = te.compute(
            c.shape,
            lambda i, j: c[i, j] + tvm.tir.call_extern("int32", what).astype("float32"),
            name="D",
        )
    key = register_workload_tensors(auto_scheduler.ComputeDAG([a, b, c]).workload_key(), [a, b, c])
    search = auto_scheduler.SearchTask(
        workload_key=key,
        target=tvm.target.Target(tvm_target),
        hardware_params=auto_scheduler.HardwareParams(
            2, 32, 64, 0, 0, 0, 0, 0, tvm.target.Target(tvm_target)
        ),
    )
    return Task(spec, task_key(key), search, search.target, 1, 2.0 * size**3, kind)


def task(spec: str, tvm_target: dict[str, Any] | None = None) -> Any:
    """A task by name: ``matmul:64`` (tiles), ``evolve:64`` (evolution), ``call:pause``,
    ``fill:4096`` (MiB of memory)."""
    import tvm

    from tvmkd.tuning.records import task_key
    from tvmkd.tuning.space import Task

    kind, _, what = spec.partition(":")
    target = tvm.target.Target(tvm_target or TARGET["tvm"])
    if kind == "call":
        mod, flop = calling(what), 4.0
    elif kind == "fill":
        mod, flop = filling(int(what)), 4.0
    else:
        mod, flop = matmul(int(what)), 2.0 * int(what) ** 3
    kinds = {"call": LoneSpace, "fill": LoneSpace, "matmul": TileSpace, "threads": ThreadSpace}
    space: Any = kinds.get(kind, lambda _: None)(mod)
    return Task(spec, task_key(mod), mod, target, 1, flop, kind, space)


def start(folder: Path, tracker: dict[str, Any], **settings: Any) -> subprocess.Popen[bytes]:
    """Starts tuning in a process of its own; see :func:`main` for ``settings``.

    Its output has no buffer: what a reader of lines has read ahead, ``communicate`` would miss.
    """
    from tvmkd.runtime import interpreters

    params = {"folder": str(folder), "tracker": tracker, **settings}
    runs = interpreters.find(settings.get("stack", "relax"))
    return subprocess.Popen(
        [runs.python, __file__, json.dumps(params)],
        env={**os.environ, **runs.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )


def events(process: subprocess.Popen[bytes]) -> list[tuple[str, dict[str, Any]]]:
    """Waits for the end and returns every event; the last is ``result`` or ``failed``."""
    out, err = process.communicate(timeout=240)
    found = [tuple(json.loads(line)) for line in out.splitlines()]
    assert found, err.decode()
    return found  # type: ignore[return-value]


def tune(folder: Path, tracker: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Tunes and returns the summary."""
    name, data = events(start(folder, tracker, **settings))[-1]
    assert name == "result", data
    return data


def main() -> None:
    """Tunes ``params["tasks"]`` (names for :func:`task`) into ``params["folder"]``."""
    from tvmkd.tuning import tuner_backend

    params = json.loads(sys.argv[1])
    stack = params.get("stack", "relax")
    tuner_backend.of(stack).import_compiler()
    from tvmkd.base.errors import TvmkdError
    from tvmkd.tuning.tune import tune_into

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    # SIGINT too: it is ignored where the tests run as a shell's background job.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)

    def emit(name: str, data: dict[str, Any]) -> None:
        print(json.dumps([name, data]), flush=True)

    target = {**TARGET, **params.get("target", {})}
    make = relay_task if stack == "relay" else task
    made = [make(spec, target["tvm"]) for spec in params.get("tasks", ["matmul:64"])]
    if params.get("plant_wrong"):
        plant_wrong(tuner_backend.of(stack), *made)
    try:
        result = tune_into(
            Path(params["folder"]),
            made,
            target,
            params["tracker"],
            trials=params.get("trials", 8),
            seed=params.get("seed", 0),
            emit=emit,
            stack=stack,
            options=params.get("options"),
        )
        emit("result", result)
    except TvmkdError as error:
        emit("failed", {"type": type(error).__name__, "message": str(error)})
    except KeyboardInterrupt:
        emit("failed", {"type": "Interrupted", "message": ""})
        sys.exit(130)


if __name__ == "__main__":
    main()
