"""A model that takes its time, for tests of queues."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from running import make_toy

# Each of four elements waits for 5 ms: asleep, so that the machine's load changes little.
COMPILE = """
import sys
sys.modules["torch"] = None
import tvm
from tvm import relax, te

def wait(a, b):
    def element(i, j):
        return a[i, j] + b[i, j] + tvm.tirx.call_extern("int32", "usleep", 5000).astype("float32")
    return te.compute((1, 4), element)

builder = relax.BlockBuilder()
x, y = (relax.Var(name, relax.TensorType((1, 4), "float32")) for name in "xy")
with builder.function("main", [x, y]):
    with builder.dataflow():
        total = builder.emit_te(wait, x, y)
        product = builder.emit(relax.op.multiply(x, y))
        both = builder.emit_output(relax.Tuple([total, product]))
    builder.emit_func_output(both)
target = tvm.target.Target({"kind": "llvm", "num-cores": 1})
tvm.compile(builder.finalize(), target=target).export_library(sys.argv[1])
"""


def make_slow(folder: Path) -> Path:
    """An artifact that computes as `make_toy`'s does, in 20 ms."""
    library = folder.parent / "slow.so"
    script = library.with_suffix(".py")  # TVMScript reads its own source
    script.write_text(COMPILE, encoding="utf-8")
    subprocess.run([sys.executable, script, library], check=True, timeout=120)
    return make_toy(folder, library)
