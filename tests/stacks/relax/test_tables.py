"""Functions of one quantised tensor: as ONNX Runtime computes them, by one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import qdq_graphs
    import tvm
    from relax_graphs import PLAIN, operators, run

    from tvmkd.base.onnx_runtime import open_session
    from tvmkd.stacks.relax import importer
    from tvmkd.stacks.relax.tables import tables


def _gelu(g: Any) -> None:
    """As PyTorch exports it, with the roundings that ONNX Runtime's quantiser adds."""
    x = g.last
    g.add("Div", g.weight(value=2**0.5))
    g.add("Erf")
    g.qdq(0.008, 0)
    scale, zero = g.weight(value=1 / 127), g.array(np.array(0, np.int8))
    erf, one = g.last, g.array(np.array(127, np.int8))
    one = g.add("DequantizeLinear", scale, zero, data=one)
    g.add("Add", one, data=erf)
    g.qdq(0.008, 0)
    g.add("Mul", x)
    g.qdq(0.01, 17)
    g.add("Mul", g.weight(value=0.5))


def _silu(g: Any) -> None:
    x = g.last
    g.add("Sigmoid")
    g.qdq(1 / 255, 0)
    g.add("Mul", x)


def _hard_swish(g: Any) -> None:
    g.add("HardSwish")


def _one(g: Any) -> None:
    g.add("Tanh")
    g.add("Clip", g.weight(value=-0.5), g.weight(value=0.7))
    g.add("Sqrt", data=g.add("Abs"))


FUNCTIONS = {"gelu": _gelu, "silu": _silu, "hard_swish": _hard_swish, "one": _one}


@pytest.mark.parametrize("activation", ["uint8", "int8"])
@pytest.mark.parametrize("function", FUNCTIONS)
@inside("relax")
def test_a_function_is_one_lookup(tmp_path: Path, function: str, activation: str) -> None:
    g = qdq_graphs.Quantised(1, 4, 6, 6, activation=activation)
    first = g.qdq(0.03)
    g.quantised_conv(4, 16, unit=0.03)
    g.qdq(0.05)
    FUNCTIONS[function](g)
    last = g.qdq(0.02, 100 if activation == "uint8" else -5)
    path = g.save(tmp_path / "m.onnx", first, last)
    x = np.random.default_rng(3).standard_normal((1, 4, 6, 6)).astype(np.float32) * 2
    wanted = open_session(path, threads=1, optimize=False).run(None, {"x": x})
    fused = importer.fuse(importer.read(path).mod, tvm.target.Target(PLAIN))
    for found, right in zip(run(fused, [x], PLAIN), wanted, strict=True):
        steps = np.rint((found - right) / 0.02)
        # A sum may be rounded to the other side before the function.
        assert (steps != 0).mean() < 0.01
    names = operators(fused)
    assert sum("lookup" in name for name in names) == 1
    # The image is quantised, convolved, looked up; both outputs are dequantised.
    assert len(names) == 5, names


@inside("relax")
def test_a_function_of_two_tensors_is_none(tmp_path: Path) -> None:
    g = qdq_graphs.Quantised(1, 4, 6, 6)
    first = g.qdq(0.03)
    second = g.qdq(0.05, data=g.add("Sigmoid"))
    g.add("Mul", first, data=g.add("MaxPool", kernel_shape=[3, 3], pads=[1] * 4, data=second))
    last = g.qdq(0.04)
    mod = importer.read(g.save(tmp_path / "m.onnx", last)).mod
    found = [name for name in operators(tables(mod)) if "take" in name]
    assert len(found) == 1, "the sigmoid's"
