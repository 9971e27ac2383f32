#!/usr/bin/env python
"""What an activation costs behind a convolution: SiLU and GELU against ReLU, alternating.

The convolutions are those of edge12's networks that have SiLU or GELU behind them, with the
schedules that are taken without a trial, on one thread. The second table compares the functions
alone with ONNX Runtime's: largest errors in units in the last place over float32, where the result
is a normal number, and times of one thread for 401,408 values.
"""

from __future__ import annotations

import os
import statistics
import sys
from typing import Any

os.environ["TVM_NUM_THREADS"] = "1"

import numpy as np
from _common import Result, finish, parser

BAR = 1.1
SIZES = {  # height and width, input and output channels, window, stride
    "efficientnet_b0, expansion": (56, 24, 144, 1, 1),
    "efficientnet_b0, deep expansion": (14, 112, 672, 1, 1),
    "fastvit_t8, expansion": (56, 48, 144, 1, 1),
    "fastvit_t8, deep expansion": (14, 192, 576, 1, 1),
    "repvit_m0_9, expansion": (14, 192, 384, 1, 1),
    "mobilevitv2_050, expansion": (28, 128, 256, 1, 1),
    "detector, 3x3": (40, 64, 64, 3, 1),
    "detector, 3x3 stride 2": (80, 32, 64, 3, 2),
}
FUNCTIONS = ("erf", "exp", "log", "sigmoid", "tanh")
VALUES = 401_408


def activated(name: str, value: Any) -> Any:
    """ReLU, SiLU or GELU of a tensor."""
    from tvm import te, tirx

    from tvmkd.stacks.relax.vector_math import WHOLE_GELU

    rules = {
        "relu": lambda v: te.max(v, tirx.const(0, "float32")),
        "silu": lambda v: v * tirx.sigmoid(v),
        "gelu": lambda v: tirx.call_intrin("float32", WHOLE_GELU, v),
    }
    return te.compute(value.shape, lambda *at: rules[name](value[at]), name=name)


def convolution(size: tuple[int, ...], activation: str, facts: dict[str, Any]) -> Any:
    """A kernel as a library, with the first guess of its schedule for a target."""
    import tvm
    from tvm import te

    from tvmkd.stacks.relax import kernels
    from tvmkd.stacks.relax.stack import tvm_target
    from tvmkd.stacks.relax.templates import template_for
    from tvmkd.stacks.relax.templates.cpu import Cpu

    edge, inner, outer, window, stride = size
    cpu = Cpu.of(facts)
    lanes = kernels.lanes_for(outer, cpu.lanes)
    x = te.placeholder((1, edge, edge, inner), name="x")
    weight = te.placeholder((outer // lanes, window, window, inner, lanes), name="w")
    y = kernels.convolution(x, weight, outer, [stride] * 2, [window // 2] * 4, [1, 1])
    function = te.create_prim_func([x, weight, activated(activation, y)])
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    space = template_for(mod, cpu)
    schedule = space.default() if space else None
    assert schedule is not None
    library = tvm.tirx.build(schedule.mod, target=tvm_target(facts))
    shapes = [[int(extent) for extent in each.shape] for each in (x, weight, y)]
    arguments = [
        tvm.runtime.tensor(np.random.default_rng(0).standard_normal(shape).astype("float32"))
        for shape in shapes
    ]
    return library.time_evaluator("main", tvm.cpu(), number=5, repeat=3), arguments


def ratios(size: tuple[int, ...], facts: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Time over ReLU's in each round."""
    timers = {name: convolution(size, name, facts) for name in ("relu", "silu", "gelu")}
    found: dict[str, list[float]] = {"silu": [], "gelu": []}
    for _ in range(rounds):
        seconds = {name: min(timer(*args).results) for name, (timer, args) in timers.items()}
        for name, each in found.items():
            each.append(seconds[name] / seconds["relu"])
    return found


def alone(name: str, facts: dict[str, Any], rounds: int) -> Result:
    """One function against ONNX Runtime's."""
    import time

    import onnxruntime
    import tvm
    from onnx import TensorProto, helper
    from scipy import special
    from tvm import s_tir, te, tirx

    from tvmkd.stacks.relax.stack import tvm_target

    exact = {"erf": special.erf, "sigmoid": special.expit}.get(name, getattr(np, name, None))
    assert exact is not None
    a = te.placeholder((VALUES,), name="a")
    b = te.compute((VALUES,), lambda i: getattr(tirx, name)(a[i]), name="b")
    schedule = s_tir.Schedule(te.create_prim_func([a, b]).with_attr("global_symbol", "main"))
    schedule.vectorize(schedule.split(schedule.get_loops("b")[0], [None, 16])[1])
    library = tvm.tirx.build(schedule.mod, target=tvm_target(facts))
    tensor = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [VALUES]) for n in "xy"]
    node = helper.make_node(name.capitalize(), ["x"], ["y"])
    model = helper.make_model(
        helper.make_graph([node], name, tensor[:1], tensor[1:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    output = tvm.runtime.tensor(np.empty(VALUES, np.float32))
    worst = [0.0, 0.0]
    bits = np.arange(0, 2**32, 1009, dtype=np.uint64).astype(np.uint32).view(np.float32)
    for begin in range(0, len(bits) - VALUES + 1, VALUES):
        x = bits[begin : begin + VALUES]
        library["main"](tvm.runtime.tensor(x), output)
        with np.errstate(all="ignore"):
            wanted = exact(x.astype(np.float64))
            rounded = wanted.astype(np.float32)
        known = np.isfinite(rounded) & (np.abs(rounded) >= np.finfo(np.float32).tiny)
        for place, got in enumerate((output.numpy(), session.run(None, {"x": x})[0])):
            error = np.abs(got[known].astype(np.float64) - wanted[known])
            units = error / np.spacing(np.abs(rounded[known]))
            worst[place] = max(worst[place], float(units.max(initial=0.0)))
    x = np.random.default_rng(0).uniform(0.01, 6, VALUES).astype(np.float32)
    given, timed = tvm.runtime.tensor(x), []
    timer = library.time_evaluator("main", tvm.cpu(), number=3, repeat=3)
    for _ in range(rounds):
        ours, peer = min(timer(given, output).results), []
        for _ in range(9):
            start = time.perf_counter()
            session.run(None, {"x": x})
            peer.append(time.perf_counter() - start)
        timed.append(ours / min(peer))
    return Result(
        f"{name} alone, tvmkd over onnxruntime", statistics.median(timed), None, ratios=timed,
        note=f"largest error {worst[0]:.2f} ulp, ONNX Runtime {worst[1]:.3g} ulp",
        details={"ulp": worst[0], "onnxruntime_ulp": worst[1]},
    )  # fmt: skip


def main() -> int:
    """Both tables."""
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--target", default="host")
    args = options.parse_args()
    from tvmkd.runtime.tvm_process import import_compiler

    import_compiler()
    from tvmkd import targets
    from tvmkd.stacks.relax import vector_math

    vector_math.install()
    facts = targets.load(args.target).to_dict()
    results = []
    for label, size in SIZES.items():
        for name, found in ratios(size, facts, args.rounds).items():
            median = statistics.median(found)
            results.append(Result(f"{label}: {name} over relu", median, BAR, ratios=found))
    results += [alone(name, facts, args.rounds) for name in FUNCTIONS]
    return finish(results, args.json)


if __name__ == "__main__":
    sys.exit(main())
