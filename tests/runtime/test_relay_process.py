"""This TVM still needs each shim, and the shim repairs the fault."""

from __future__ import annotations

import os
import subprocess

import relay_stack

from tvmkd.runtime.interpreters import Interpreter

CHECK = """
from tvmkd.tuning import tuner_backend
from tvmkd.runtime import relay_shims
tvm = tuner_backend.of("relay").import_compiler()
from tvm.rpc.client import RPCSession
import inspect
patched = "options" not in inspect.signature(RPCSession.load_module).parameters
import tvm.topi
print(patched, relay_shims.load_module_with_one_argument())
print(relay_shims.dense_that_can_be_rewritten(), tvm.topi.nn.dense.__module__)
print(relay_shims.scales_of_run_time_stay_out_of_weights())
"""


def test_shims_are_installed_once() -> None:
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
    assert dense == "True tvmkd.runtime.relay_shims"
    assert scales == "False"  # installed by the import
