"""How GPU kernels are launched, read from TVM's host code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cuda_compilers
import fake_driver
import pytest
from in_relax import in_relax

MISSING = cuda_compilers.missing()
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]
START = """
import dataclasses
import numpy as np
from tvm import te, tirx
from tvm.script import tirx as T
from tvmkd.base.errors import InputError
from tvmkd.runtime import nvrtc
from tvmkd.stacks.relax import cuda, launches
from tvmkd.stacks.relax.stack import tvm_target
from tvmkd.stacks.standalone.cuda_library import CudaPackage
from tvmkd.stacks.standalone.graph import Call, Graph, Place, Storage, Tensor
from tvmkd.stacks.standalone.source import About

NANO, HOST = targets.load("jetson-nano-gpu"), targets.load("host")
HERE = dataclasses.replace(NANO, name="here", host=HOST.tvm, toolchain=HOST.toolchain)
nvrtc.install(nvrtc.settings(HERE.to_dict()))
GOAL = tvm_target(HERE.to_dict())
FLOAT = np.dtype("float32")

def tensor(place, number, *shape):
    return Tensor(Storage(place, number, int(np.prod(shape)) * 4), shape, FLOAT)

def refuse(why):
    return InputError(why)
"""

# Sums that cannot be one launch: the second reads what other blocks of the first have written.
TWO = """
a = te.placeholder((64, 32, 16), name="a")
k, j = te.reduce_axis((0, 16), "k"), te.reduce_axis((0, 32), "j")
b = te.compute((64, 32), lambda x, y: te.sum(a[x, y, k], axis=k), name="b")
c = te.compute((64,), lambda x: te.sum(b[x, j] * b[63 - x, j], axis=j), name="c")
function = te.create_prim_func([a, c]).with_attr("global_symbol", "two")
mod = cuda.with_default_schedules(tvm.IRModule({"two": function}), GOAL)
ptx, host = launches.compile_kernels(mod, {"two"}, GOAL)
x, y, again = (
    tensor(Place.INPUT, 0, 64, 32, 16), tensor(Place.OUTPUT, 0, 64), tensor(Place.OUTPUT, 1, 64))
copy = Call("copy", "tvmkd_rt_copy", (y, again))
graph = Graph((Call("two", "two", (x, y)), copy), (), (2,))
found = launches.launched(graph, host, refuse)
"""


def test_one_kernel_of_several_launches_with_memory_between_them(tmp_path: Path) -> None:
    script = (
        START
        + TWO
        + """
about = About(
    name="two", target="here", built_by="a test", digest="", threads=1, features=(), scratch=0,
    inputs=[{"name": "x", "shape": [64, 32, 16], "dtype": "float32"}],
    outputs=[{"name": name, "shape": [64], "dtype": "float32"} for name in ("y", "again")])
folder = Path(sys.argv[1])
package = CudaPackage(found, about, HERE.toolchain, folder, ptx=ptx, capability=53)
package.shared(folder / "libtwo.so")
first, second, last = found.calls
print(json.dumps({
    "names": [first.kernel, second.kernel, last.kernel],
    "places": [[each.storage.place.value for each in call.arguments] for call in found.calls],
    "between": first.arguments[1].storage == second.arguments[0].storage,
    "bytes": first.arguments[1].storage.size,
    "grids": [first.grid, second.grid], "blocks": [first.block, second.block],
    "ends": found.ends,
}))
"""
    )
    assert in_relax(script, tmp_path) == {
        "names": ["two_kernel", "two_kernel_1", "copy"],
        "places": [["IN_INPUT", "IN_ARENA"], ["IN_ARENA", "IN_OUTPUT"], ["IN_OUTPUT"] * 2],
        "between": True,
        "bytes": 64 * 32 * 4,
        "grids": [[2, 1, 1], [1, 1, 1]],
        "blocks": [[1024, 1, 1], [1024, 1, 1]],
        "ends": [3],
    }
    code = """
import json, sys
import numpy as np
from pathlib import Path
from types import SimpleNamespace
from tvmkd.runtime.standalone_program import StandaloneProgram
spec = SimpleNamespace(name="x", shape=(64, 32, 16), dtype="float32")
program = StandaloneProgram(Path(sys.argv[1]), [spec])
x = np.random.default_rng(0).standard_normal((64, 32, 16)).astype("float32")
y, again = program.run([x])
b = x.sum(axis=2)
want = (b * b[::-1]).sum(axis=1)
print(json.dumps([float(abs(found - want).max() / abs(want).max()) for found in (y, again)]))
"""
    fake_driver.built(tmp_path)
    env = {**os.environ, "LD_LIBRARY_PATH": os.fspath(tmp_path), "FAKE_CUDA_COMPUTES": "1"}
    command = [sys.executable, "-c", code, os.fspath(tmp_path / "libtwo.so")]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=100)
    assert done.returncode == 0, done.stderr
    assert max(json.loads(done.stdout)) < 1e-5


def test_what_cannot_be_a_table_of_launches(tmp_path: Path) -> None:
    script = (
        START
        + """
HEAD = "# from tvm.script import tirx as T\\n@T.prim_func(s_tir=True)\\n"
HEAD += "def k(x: T.Buffer((64,), 'float32')):\\n"
START = "T.call_ffi_kernel('k_kernel', x.data, "

def said(body):
    function = tvm.script.from_source(HEAD + "    " + body)
    x = tensor(Place.INPUT, 0, 64)
    graph = Graph((Call("k", "k", (x,)),), (), (1,))
    try:
        launches.launched(graph, {"k": function}, refuse)
    except InputError as error:
        return str(error)

print(json.dumps([said(body) for body in (
    "x[0] = T.float32(1)",
    "for i in range(4): " + START + "4, launch_params=['blockIdx.x'], ret_ty='int32')",
    START + "T.reinterpret('int32', x[0]), 1, launch_params=['blockIdx.x'], ret_ty='int32')",
    START + "7, launch_params=['clusterCtaIdx.x'], ret_ty='int32')",
    START + "T.reinterpret('int32', x[0]), launch_params=['blockIdx.x'], ret_ty='int32')",
)]))
"""
    )
    assert in_relax(script) == [
        "the kernel k computes on the CPU between its GPU functions",
        "the kernel k computes on the CPU between its GPU functions",
        "the kernel k gets a number that the CPU computes",
        "the kernel k is launched by clusterCtaIdx.x, which older GPUs lack",
        "the kernel k has a grid or a buffer whose size the CPU computes",
    ]
