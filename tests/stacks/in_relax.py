"""Runs a script in a fork of the process with the Relax stack imported, see `in_tvm`."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from in_tvm import inside

START = """
import json, sys
from pathlib import Path
import numpy as np
import tvm
from tvm import relax
from tvmkd import targets
from tvmkd.byoc import region, regions
from tvmkd.stacks.relax import importer, offload, onnx_operators, tensorrt, to_onnx
import graphs
TARGET = targets.load("host").to_dict()
regions.install(tvm, tvm.runtime.tensor)

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
    return run_script(script, [str(argument) for argument in argv])


@inside("relax")
def run_script(script: str, argv: list[str]) -> Any:
    sys.argv = ["script", *argv]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(START + script, {"__name__": "script"})
    return json.loads(said.getvalue().splitlines()[-1])


# Each case: the shapes of its inputs, and what is made of them.
CASES = """
def const(*shape):
    return relax.const(np.random.default_rng(len(shape)).uniform(0.5, 1.5, shape).astype("float32"))

op, nn = relax.op, relax.op.nn
unary = ["nn.relu", "nn.silu", "sigmoid", "tanh", "exp", "log", "sqrt", "abs", "negative", "sin",
         "cos", "atan", "ceil", "floor", "erf"]
binary = ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum"]
IMAGE = (2, 6, 9, 8)

def named(name):
    found = op
    for part in name.split("."):
        found = getattr(found, part)
    return found

CASES = {
    **{name: ([IMAGE], named(name)) for name in unary},
    **{name: ([IMAGE, (6, 1, 8)], named(name)) for name in binary},
    "of a constant": ([IMAGE], lambda x: op.add(x, relax.const(0.5, "float32"))),
    "softmax": ([(2, 3, 4)], lambda x: nn.softmax(x, axis=1)),
    "batch_flatten": ([IMAGE], nn.batch_flatten),
    "expand_dims": ([(2, 3)], lambda x: op.expand_dims(x, [0, -1])),
    "squeeze": ([(2, 1, 3, 1)], lambda x: op.squeeze(x, [1])),
    "squeeze all": ([(2, 1, 3, 1)], op.squeeze),
    "permute_dims": ([(2, 3, 4)], lambda x: op.permute_dims(x, [1, 2, 0])),
    "permute_dims back": ([(2, 3, 4)], op.permute_dims),
    "max_pool2d": ([IMAGE], lambda x: nn.max_pool2d(x, (3, 2), (2, 1), (1, 0, 1, 1))),
    "max_pool2d up": ([IMAGE], lambda x: nn.max_pool2d(x, (3, 3), (2, 2), ceil_mode=True)),
    "avg_pool2d": ([IMAGE], lambda x: nn.avg_pool2d(x, (3, 2), (2, 1), (1, 0, 1, 1))),
    "avg_pool2d padded": (
        [IMAGE], lambda x: nn.avg_pool2d(x, (3, 3), (2, 1), (1, 1, 1, 1), count_include_pad=True)),
    "avg_pool2d up": ([(1, 2, 9, 9)], lambda x: nn.avg_pool2d(x, (3, 3), (2, 2), ceil_mode=True)),
    "max_pool3d": ([(1, 2, 5, 6, 7)], lambda x: nn.max_pool3d(x, (2, 3, 2), (2, 1, 1))),
    "avg_pool3d": ([(1, 2, 5, 6, 7)], lambda x: nn.avg_pool3d(x, (2, 3, 2), (2, 1, 1))),
    "adaptive_avg_pool2d": ([IMAGE], lambda x: nn.adaptive_avg_pool2d(x, (1, 1))),
    "adaptive_avg_pool2d even": ([IMAGE], lambda x: nn.adaptive_avg_pool2d(x, (3, 2))),
    **{name: ([IMAGE], lambda x, f=named(name): f(x, [1, 3], keepdims=True))
       for name in ("sum", "prod", "max", "min", "mean")},
    "sum of all": ([IMAGE], op.sum),
    "mean of all": ([IMAGE], op.mean),
    "concat": ([(2, 3), (2, 5)], lambda *x: op.concat(list(x), axis=1)),
    "split": ([(2, 7)], lambda x: op.split(x, [2, 3], axis=1)),
    "split into one": ([(2, 7)], lambda x: op.split(x, 1, axis=1)),
    "split and joined": ([(2, 8)], lambda x: op.concat(op.split(x, 2, axis=1), axis=0)),
    "conv1d": ([(2, 6, 9)], lambda x: nn.conv1d(x, const(4, 6, 3), strides=2, padding=1)),
    "conv2d": ([IMAGE], lambda x: nn.conv2d(
        x, const(4, 3, 3, 2), strides=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2), groups=2)),
    "conv3d": ([(1, 2, 5, 6, 7)], lambda x: nn.conv3d(x, const(3, 2, 2, 3, 2))),
    "conv2d_transpose": ([IMAGE], lambda x: nn.conv2d_transpose(
        x, const(6, 4, 3, 2), strides=(2, 2), padding=(1, 0, 1, 0), output_padding=(1, 0))),
    "take": ([IMAGE], lambda x: op.take(x, relax.const([[3, 0], [1, 5]], "int64"), axis=1)),
    "take one": ([IMAGE], lambda x: op.take(x, relax.const(2, "int32"), axis=3)),
    "matmul": ([(2, 3, 4), (4, 5)], op.matmul),
    "reshape": ([IMAGE], lambda x: op.reshape(x, (2, 54, 8))),
    "layer_norm": ([(2, 3, 8)], lambda x: nn.layer_norm(x, const(8), const(8), axes=[-1])),
    "layer_norm unscaled": ([(2, 3, 8)], lambda x: nn.layer_norm(
        x, const(8), const(8), axes=[-1], center=False, scale=False)),
    "clip": ([IMAGE], lambda x: op.clip(x, 0.7, 1)),
    "strided_slice": ([IMAGE], lambda x: op.strided_slice(x, [1, 2], [0, 1], [6, 9], [2, 3])),
    "strided_slice by one": ([IMAGE], lambda x: op.strided_slice(x, [1], [-4], [5])),
    "resize2d": ([IMAGE], lambda x: op.image.resize2d(x, (18, 20))),
    "resize2d nearest": ([IMAGE], lambda x: op.image.resize2d(
        x, (18, 16), method="nearest_neighbor", coordinate_transformation_mode="asymmetric",
        rounding_method="floor")),
}

def built(shapes, make, dtype="float32"):
    params = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            value = builder.emit(make(*params))
            result = builder.emit_output(value)
        builder.emit_func_output(result)
    return builder.get()
"""
