"""Small Relax modules for tests that run `inside` the relax stack's process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tvm import relax

PLAIN = {"kind": "llvm", "opt-level": 0}
"""A target that compiles quickly."""


def const(*shape: int, low: float = 0.5) -> Any:
    """A float32 constant, the same for the same shape; uniform in ``[low, low + 1)``."""
    rng = np.random.default_rng([len(shape), *shape])
    return relax.const(rng.uniform(low, low + 1, shape).astype("float32"))


def module(
    shapes: Sequence[Sequence[Any]], make: Callable[..., Any], dtype: str = "float32"
) -> Any:
    """A module whose ``main`` computes ``make(*inputs)`` in one dataflow block."""
    params = [
        relax.Var(f"x{number}", relax.TensorType(shape, dtype))
        for number, shape in enumerate(shapes)
    ]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(builder.emit(make(*params)))
        builder.emit_func_output(result)
    return builder.get()


def run(mod: Any, arrays: Sequence[np.ndarray], target: Any = PLAIN) -> list[np.ndarray]:
    """Compiles a module and returns the outputs of ``main``, nested tuples flattened."""
    import tvm

    machine = relax.VirtualMachine(compiled(mod, target), tvm.cpu())
    return list(_flat(machine["main"](*map(tvm.runtime.tensor, arrays))))


def compiled(mod: Any, target: Any) -> Any:
    """A module as a library, loaded from a file: TVM's JIT ignores ``opt-level`` and is slow."""
    import tvm

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.so")
        tvm.compile(mod, tvm.target.Target(target)).export_library(path)
        return tvm.runtime.load_module(path)


def _flat(value: Any) -> Any:
    if hasattr(value, "numpy"):
        yield value.numpy()
    else:
        for each in value:
            yield from _flat(each)


def operators(mod: Any) -> list[str]:
    """What ``main`` calls, in order: Relax operators, and kernels by their names."""
    calls = [
        binding.value
        for block in mod["main"].body.blocks
        for binding in block.bindings
        if hasattr(binding.value, "op")
    ]
    names = [getattr(call.op, "name", "") for call in calls]
    return [
        call.args[0].name_hint if name == "relax.call_tir" else name.removeprefix("relax.")
        for call, name in zip(calls, names, strict=True)
    ]


def convolved(
    x: np.ndarray,
    weight: np.ndarray,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilation: Sequence[int] = (1, 1),
) -> np.ndarray:
    """A convolution by its definition: x ``[N, H, W, C]``, weight ``[OC, C, KH, KW]``."""
    top, left, bottom, right = pads
    x = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    kh, kw = weight.shape[2:]
    height = (x.shape[1] - dilation[0] * (kh - 1) - 1) // strides[0] + 1
    width = (x.shape[2] - dilation[1] * (kw - 1) - 1) // strides[1] + 1
    out = np.zeros((x.shape[0], height, width, weight.shape[0]))
    for i in range(kh):
        for j in range(kw):
            rows = i * dilation[0] + np.arange(height) * strides[0]
            columns = j * dilation[1] + np.arange(width) * strides[1]
            part = x[:, rows[:, None], columns]
            out += part @ weight[:, :, i, j].T.astype(np.float64)
    return out


def computed(make: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """What a tensor expression ``make(*inputs)`` gives, compiled as it stands."""
    import tvm
    from tvm import te

    inputs = [te.placeholder(a.shape, str(a.dtype), f"x{i}") for i, a in enumerate(arrays)]
    out = make(*inputs)
    function = te.create_prim_func([*inputs, out]).with_attr("global_symbol", "main")
    built = compiled(tvm.IRModule({"main": function}), PLAIN)
    result = tvm.runtime.tensor(np.zeros([int(size) for size in out.shape], str(out.dtype)))
    built["main"](*map(tvm.runtime.tensor, arrays), result)
    return np.asarray(result.numpy())
