"""Compiles a matrix product, runs and times it on a board, for ``tvmkd board doctor``.

The process ``python -m tvmkd.stacks.relax.trial`` answers the method ``trial``.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from tvmkd.base import wire
from tvmkd.base.errors import MissingError
from tvmkd.boards import board_clock

SIZE = 128  # rows of the matrix product


def _trial(params: dict[str, Any], _emit: wire.Event) -> dict[str, Any]:
    """In the child: see :func:`tvmkd.boards.examine.trial`."""
    import subprocess

    import numpy as np
    import tvm
    from tvm import te

    from tvmkd.base.toolchain import linker_for
    from tvmkd.boards.connect import request
    from tvmkd.runtime import nvrtc
    from tvmkd.stacks.relax import cuda as relax_cuda
    from tvmkd.stacks.relax.metaschedule import compile_object

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
        raise MissingError("the board finds no GPU: see docs/how-to/cuda.md")
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
    seconds = board_clock.seconds(lambda: timer(*arguments))
    return {
        "board": f"{host}:{port}",
        "error": error,
        "round_trips_ms": trips,
        "seconds": seconds,
    }


def main() -> None:
    """Serves until stdin closes."""
    from tvmkd.base.prctl import die_with_parent
    from tvmkd.runtime.tvm_process import import_compiler

    die_with_parent()
    with contextlib.suppress(KeyboardInterrupt):
        import_compiler()
        wire.serve({"trial": _trial})
    os._exit(0)  # a session's destructor may wait for a board that is gone


if __name__ == "__main__":
    main()
