"""Runs a script in a process of its own with the Relax stack imported, as its worker has it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

START = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from tvmkd.stacks.tvm_process import import_compiler
import_compiler()
import numpy as np
import tvm
from tvm import relax
from tvmkd import targets
from tvmkd.stacks import regions, relax_import, relax_tensorrt, relax_to_onnx
from tvmkd.tensorrt import byoc
import graphs
TARGET = targets.load("host").to_dict()
regions.install(tvm)

def machine(mod, path):
    target = tvm.target.Target(TARGET["tvm"])
    with target:
        executable = tvm.compile(mod, target)
    executable.export_library(str(path))
    return relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())

def outputs(machine, *arrays):
    found = machine["main"](*map(tvm.runtime.tensor, arrays))
    return [each.numpy() for each in ([found] if hasattr(found, "numpy") else found)]
"""


def in_relax(script: str, *argv: Path | str) -> Any:
    """What the script prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", START + script, *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
