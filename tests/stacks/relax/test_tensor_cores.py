"""Products in half precision on a GPU with tensor cores; none is needed to compile them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cuda_compilers
import pytest

MISSING = cuda_compilers.missing("sm_87")
# A process of its own: it imports TVM with its compiler and installs a callback.
CODE = """
import sys
from pathlib import Path
import numpy as np
from tvmkd.runtime.tvm_process import import_compiler
tvm = import_compiler()
from tvm import te
from tvmkd import targets
from tvmkd.runtime import nvrtc
from tvmkd.stacks.relax import metaschedule, tensor_cores
from tvmkd.stacks.relax.evolution import EvolutionSpace
from tvmkd.stacks.relax.stack import tvm_target
from tvmkd.tuning.space import Task
orin = targets.load("jetson-agx-orin").to_dict()
nvrtc.install(nvrtc.settings(orin))
a, b = (te.placeholder((64, 64), "float16", name) for name in "ab")
k = te.reduce_axis((0, 64), name="k")
wide = lambda value: value.astype("float32")
c = te.compute((64, 64), lambda i, j: te.sum(wide(a[i, k]) * wide(b[k, j]), axis=k), name="matmul")
mod = tvm.IRModule({"main": te.create_prim_func([a, b, c]).with_attr("global_symbol", "main")})
assert tensor_cores.kernels(mod) == set()
goal = tvm_target(orin)
task = Task(name="matmul", key="k", mod=mod, target=goal, weight=1, flop=1.0, kind="dense")
found = EvolutionSpace(task).propose(2, set(), [], np.random.default_rng(0))
for candidate in found:
    print(tensor_cores.kernels(candidate.schedule.mod) == {"main"})
    out = Path(sys.argv[1])
    source = metaschedule.source(candidate)
    metaschedule.compile_object(source, metaschedule.setup([task]), out / "kernel.o")
    print((out / "kernel.dev.o").read_bytes().count(b"mma.sync") > 0)
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_searched_products_in_half_precision_use_them(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["True"] * 4


# One kernel with fragments of a tensor core and one without, which names scopes.
TWO = """
import json
from tvmkd.runtime.tvm_process import import_compiler
tvm = import_compiler()
from tvm import tirx
from tvm.script import tirx as T
from tvmkd.stacks.relax import tensor_cores
seen = []
original = tirx.transform.StorageRewrite
def watched():
    @tvm.transform.module_pass(opt_level=0)
    def look(mod, _):
        seen.append(sorted(var.name_hint for var, _ in mod.functions_items()))
        return mod
    return look
tirx.transform.StorageRewrite = watched
def kernel(scope):
    @T.prim_func(private=True)
    def made(a: T.Buffer((16,), "float32")):
        b = T.alloc_buffer((16,), "float32", scope=scope)
        for i in range(16):
            b[i] = a[i]
        for i in range(16):
            a[i] = b[i]
    return made
mod = tvm.IRModule({"on": kernel("wmma.accumulator"), "off": kernel("local")})
with tensor_cores.compiling(mod):
    done = tirx.transform.StorageRewrite()(mod)
assert tirx.transform.StorageRewrite is watched
with tensor_cores.compiling(tvm.IRModule({"off": mod["off"]})):
    assert tirx.transform.StorageRewrite is watched
names = sorted(var.name_hint for var, _ in done.functions_items())
print(json.dumps([sorted(tensor_cores.kernels(mod)), seen, names]))
"""


def test_other_kernels_are_compiled_as_they_were_measured(tmp_path: Path) -> None:
    script = tmp_path / "two.py"  # TVMScript reads its own source
    script.write_text(TWO)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [["on"], [["off"]], ["off", "on"]]
