"""Tiny real things for tests: a compiled library and ONNX files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMPILE = """
import sys
sys.modules["torch"] = None
import tvm
from tvm.script import ir as I, relax as R

@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((1, 4), "float32"), y: R.Tensor((1, 4), "float32")):
        with R.dataflow():
            total = R.add(x, y)
            product = R.multiply(x, y)
            both = (total, product)
            R.output(both)
        return both

target = tvm.target.Target({"kind": "llvm", "num-cores": 1})
tvm.compile(Module, target=target).export_library(sys.argv[1])
"""


def library(path: Path, swapped: bool = False) -> Path:
    """Compiles (x, y) -> (x + y, x * y) on float32 1 x 4 to ``path``, in its own process.

    With ``swapped`` the product is the first output.
    """
    script = path.with_suffix(".py")
    both = "(product, total)" if swapped else "(total, product)"
    script.write_text(COMPILE.replace("(total, product)", both), encoding="utf-8")
    subprocess.run([sys.executable, script, path], check=True, timeout=120)
    return path


def onnx_file(path: Path, operator: str = "Relu", shape: tuple[object, ...] = (1, 8)) -> Path:
    """Writes an ONNX model: a 8 x 8 ``MatMul``, then ``operator``."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], name="dense"),
            helper.make_node(operator, ["h"], ["y"], name="last"),
        ],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shape))],
        [numpy_helper.from_array(weights, "w")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def records_of(folder: Path, target: str) -> Path:
    """Makes an empty folder of records for a target, as a session opens it."""
    from tvmkd import targets
    from tvmkd.tuning.records import RECORDS, WORKLOADS
    from tvmkd.tuning.session import open_session

    open_session(folder, targets.load(target).to_dict(), "relax").close()
    for name in (WORKLOADS, RECORDS):
        (folder / name).touch()
    return folder
