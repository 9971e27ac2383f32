"""exp, log, tanh, erf and sigmoid without calls of the C library."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside
from scipy import special

if INSIDE:
    import tvm
    from tvm import s_tir, te, tirx

    from tvmkd.stacks.relax import vector_math

FUNCTIONS: dict[str, Any] = {
    "erf": special.erf,
    "exp": np.exp,
    "cosh": np.cosh,
    "log": np.log,
    "sigmoid": special.expit,
    "sinh": np.sinh,
    "tanh": np.tanh,
}
ONNX = {name: name.capitalize() for name in (*FUNCTIONS, "gelu")}
HOST = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3"}
SMALLEST = float(np.finfo(np.float32).tiny)


def called(name: str, x: Any) -> Any:
    if name == "gelu":
        return tirx.call_intrin("float32", vector_math.WHOLE_GELU, x)
    if name == "exp of negatives":
        return tirx.call_intrin("float32", vector_math.EXP_NEGATIVE, x)
    return getattr(tirx, name)(x)


def compiled(name: str, size: int, lanes: int, target: dict[str, Any] | None = None) -> Any:
    vector_math.install()
    x = te.placeholder((size,), name="x")
    y = te.compute((size,), lambda i: called(name, x[i]), name="y")
    schedule = s_tir.Schedule(te.create_prim_func([x, y]).with_attr("global_symbol", "main"))
    _, inner = schedule.split(schedule.get_loops("y")[0], [None, lanes])
    schedule.vectorize(inner)
    return tvm.tirx.build(schedule.mod, target=tvm.target.Target(target or HOST))


def from_onnxruntime(name: str, x: np.ndarray) -> np.ndarray:
    import onnxruntime
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node(ONNX[name], ["x"], ["y"])],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": x})[0]


def ulps(got: np.ndarray, exact: np.ndarray) -> float:
    """The largest error, in units of the last place of the exact result as float32.

    Results below the smallest normal number are left out.
    """
    rounded = exact.astype(np.float32)
    known = np.isfinite(rounded) & (np.abs(rounded) >= SMALLEST)
    error = np.abs(got[known].astype(np.float64) - exact[known])
    return float((error / np.spacing(np.abs(rounded[known]))).max())


@pytest.mark.parametrize("which", FUNCTIONS)
@inside("relax")
def test_errors_over_all_of_float32(which: str) -> None:
    step = 40_009  # a prime: every exponent, both signs, any mantissa
    x = np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    special_values = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 88.72, 88.8, -87.3, -103.9]
    edges = [np.nextafter(np.float32(v), np.float32(w)) for v in (0.625, 1, 10) for w in (0, 99)]
    x = np.concatenate([x, np.linspace(-12, 12, 60_000), special_values, edges]).astype("float32")
    x = np.concatenate([x, np.zeros(-x.size % 8, np.float32)])
    y = tvm.runtime.tensor(np.empty_like(x))
    compiled(which, x.size, 8)["main"](tvm.runtime.tensor(x), y)
    got = y.numpy()
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[which](x.astype(np.float64))
        rounded = exact.astype(np.float32)
    assert np.array_equal(np.isnan(got), np.isnan(rounded))
    infinite = np.isinf(rounded)
    assert np.array_equal(got[infinite], rounded[infinite])
    denormal = np.abs(rounded) < SMALLEST
    assert np.all(np.abs(got[denormal]) <= SMALLEST)
    ours, theirs = ulps(got, exact), ulps(from_onnxruntime(which, x), exact)
    # sinh and cosh are products of two exponentials; ONNX Runtime calls the C library for them.
    limit = 3.5 if which in ("cosh", "sinh") else max(2.0, theirs)
    assert ours <= limit, f"{ours:.2f} ulp; ONNX Runtime {theirs:.2f}"
    assert ours <= 3.5


@pytest.mark.parametrize("which", FUNCTIONS)
@inside("relax")
def test_scalars_and_ragged_vectors_are_the_same(which: str) -> None:
    x = np.linspace(0.01, 4, 35).astype(np.float32)
    outputs = []
    for lanes in (1, 7):
        y = tvm.runtime.tensor(np.empty_like(x))
        compiled(which, x.size, lanes)["main"](tvm.runtime.tensor(x), y)
        outputs.append(y.numpy())
    np.testing.assert_allclose(*outputs, rtol=3e-7)


@inside("relax")
def test_gelu_is_nearer_than_the_sum_of_1_and_erf() -> None:
    x = np.concatenate([np.linspace(-40, 40, 80_000), np.geomspace(1e-38, 1e38, 995)])
    x = np.concatenate([x, [0.0, -0.0, np.inf, -np.inf, np.nan]]).astype(np.float32)
    y = tvm.runtime.tensor(np.empty_like(x))
    compiled("gelu", x.size, 8)["main"](tvm.runtime.tensor(x), y)
    got = y.numpy()
    np.testing.assert_allclose(got[-3:], [np.inf, 0, np.nan], atol=1e-15)
    x, got = x[:-3], got[:-3]
    exact = x.astype(np.float64) * special.ndtr(x.astype(np.float64))
    size = np.maximum(np.abs(x), SMALLEST)
    ours, theirs = (
        float((np.abs(each - exact) / size).max()) for each in (got, from_onnxruntime("gelu", x))
    )
    assert ours <= min(theirs, 1.2e-7), f"{ours:.3g} of x; ONNX Runtime {theirs:.3g}"
    # Where the distribution's tail is small it keeps its digits, which 1 + erf has lost.
    below = (x < -3) & (x > -5.5)
    np.testing.assert_allclose(got[below], exact[below], rtol=3e-3)


@inside("relax")
def test_exp_of_what_is_not_positive() -> None:
    x = np.concatenate([np.linspace(-110, 0, 80_000), -np.geomspace(1e-38, 1e38, 997)])
    x = np.concatenate([x, [0.0, -np.inf, np.nan]]).astype(np.float32)
    y = tvm.runtime.tensor(np.empty_like(x))
    compiled("exp of negatives", x.size, 8)["main"](tvm.runtime.tensor(x), y)
    got = y.numpy()
    np.testing.assert_array_equal(got[-3:], [1, 0, np.nan])
    exact = np.exp(x[:-3].astype(np.float64))
    far = x[:-3] < -87
    assert not got[:-3][far].any()
    assert ulps(got[:-3][~far], exact[~far]) <= 1.0


@inside("relax")
def test_functions_of_functions() -> None:
    vector_math.install()
    x = te.placeholder((64,), name="x")
    one = tirx.const(1, "float32")
    mish = te.compute(
        (64,), lambda i: x[i] * tirx.tanh(tirx.log(one + tirx.exp(tirx.sigmoid(x[i])))), name="y"
    )
    schedule = s_tir.Schedule(te.create_prim_func([x, mish]).with_attr("global_symbol", "main"))
    schedule.vectorize(schedule.split(schedule.get_loops("y")[0], [None, 8])[1])
    library = tvm.tirx.build(schedule.mod, target=tvm.target.Target(HOST))
    values = np.linspace(-9, 9, 64, dtype=np.float32)
    found = tvm.runtime.tensor(np.empty_like(values))
    library["main"](tvm.runtime.tensor(values), found)
    wanted = values * np.tanh(np.log1p(np.exp(special.expit(values.astype(np.float64)))))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("which", FUNCTIONS)
@inside("relax")
def test_other_widths(which: str, dtype: str) -> None:
    vector_math.install()
    x = te.placeholder((64,), dtype, name="x")
    y = te.compute((64,), lambda i: called(which, x[i]), name="y")
    schedule = s_tir.Schedule(te.create_prim_func([x, y]).with_attr("global_symbol", "main"))
    schedule.vectorize(schedule.split(schedule.get_loops("y")[0], [None, 8])[1])
    library = tvm.tirx.build(schedule.mod, target=tvm.target.Target(HOST))
    values = np.linspace(0.1, 4, 64).astype(dtype)
    found = tvm.runtime.tensor(np.empty_like(values))
    library["main"](tvm.runtime.tensor(values), found)
    exact = FUNCTIONS[which](values.astype(np.float64))
    np.testing.assert_allclose(
        found.numpy(), exact, rtol=2 * np.finfo(dtype).eps, atol=1e-3 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize("which", FUNCTIONS)
@inside("relax")
def test_a_board_calls_no_library_either(which: str) -> None:
    board = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a57"}
    assembly = compiled(which, 64, 8, board).inspect_source("asm")
    assert not re.search(rf"\bbl\s+{which}f?\b", assembly)
    assert re.search(r"fmla\s+v\d+\.4s", assembly), "four lanes at a time"
