"""hhb-tvm still needs the shim, and with it kernels use ``TVM_NUM_THREADS`` threads."""

from __future__ import annotations

import os
import subprocess

import relay_stack

from tvmkd.runtime import relay_threads
from tvmkd.runtime.interpreters import Interpreter

# How many tasks TVM's own entry point launches a parallel loop as, and whether each ran once.
COUNT = """
import ctypes, sys
from tvmkd.runtime import relay_threads
if sys.argv[1] == "with":
    assert relay_threads.preload()
import tvm

class Env(ctypes.Structure):
    _fields_ = [("sync", ctypes.c_void_p), ("num_task", ctypes.c_int32)]

Lambda = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(Env), ctypes.c_void_p)
seen = []
run = Lambda(lambda task, env, _: seen.append((task, env.contents.num_task)) or 0)
launch = ctypes.CDLL(None).TVMBackendParallelLaunch
for wanted in map(int, sys.argv[2:]):
    seen.clear()
    assert launch(run, None, wanted) == 0
    print(sorted(seen))
fail = Lambda(lambda task, env, _: -1)
if sys.argv[1] == "with":  # upstream's forgets it
    assert launch(fail, None, 0) != 0
"""


def counted(shim: str, threads: int, *wanted: int) -> list[str]:
    runs = Interpreter("relay", relay_stack.relay_python(), "this test")
    done = subprocess.run(
        [runs.python, "-c", COUNT, shim, *map(str, wanted)],
        env={**os.environ, **runs.environment(), "TVM_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_without_it_there_is_one_thread() -> None:
    assert counted("without", 3, 0) == ["[(0, 1)]"]


def test_with_it_tvm_num_threads_is_used() -> None:
    three = "[(0, 3), (1, 3), (2, 3)]"
    assert counted("with", 3, 0, 2, 5) == [three, "[(0, 2), (1, 2)]", three]
    assert counted("with", 1, 0, 4) == ["[(0, 1)]", "[(0, 1)]"]


def test_another_tvm_is_not_changed() -> None:
    assert not relay_threads.preload()  # this interpreter has the other generation
