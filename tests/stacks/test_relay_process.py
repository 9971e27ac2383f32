"""Each shim is still needed by this TVM, and does what it is for."""

from __future__ import annotations

import os
import subprocess

import relay_stack

from tvmkd.stacks.interpreters import Interpreter

CHECK = """
from tvmkd.tuning import dialect
from tvmkd.stacks import relay_process
tvm = dialect.of("relay").import_compiler()
from tvm.rpc.client import RPCSession
import inspect
patched = "options" not in inspect.signature(RPCSession.load_module).parameters
import tvm.topi
print(patched, relay_process.load_module_with_one_argument())
print(relay_process.dense_that_can_be_rewritten(), tvm.topi.nn.dense.__module__)
print(relay_process.scales_of_run_time_stay_out_of_weights())
"""


def test_shims_are_in_place_and_are_put_in_once() -> None:
    runs = Interpreter("relay", relay_stack.relay_python(), "this test")
    done = subprocess.run(
        [runs.python, "-c", CHECK],
        env={**os.environ, **runs.environment()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    load_module, dense, scales = done.stdout.splitlines()
    assert load_module == "True False"  # hhb-tvm's was replaced, and stays replaced
    assert dense == "True tvmkd.stacks.relay_process"
    assert scales == "False"  # put in at the import
