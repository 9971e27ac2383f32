"""Compiles members of every template's space and compares them with the kernel left as it stands.

Run as a program it prints one JSON object: what happened to each kernel, and to the space of one
of them when it is asked for proposals. TVM is imported here and not in the test's process.
"""

from __future__ import annotations

import json
from typing import Any

from tvmkd.runtime.tvm_process import import_compiler

tvm = import_compiler()

import numpy as np  # noqa: E402
from tvm import te  # noqa: E402
from tvm.s_tir.meta_schedule.arg_info import ArgInfo  # noqa: E402

from tvmkd.stacks.relax import kernels as packed  # noqa: E402
from tvmkd.stacks.relax import winograd  # noqa: E402
from tvmkd.stacks.relax.templates import template_for  # noqa: E402

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 2})
MOST = 4


def tensor(*shape: int, name: str = "x") -> Any:
    return te.placeholder(shape, "float32", name=name)


def relu_behind(value: Any) -> Any:
    zero = tvm.tirx.const(0.0, "float32")
    return te.compute(value.shape, lambda *at: te.max(value[at], zero), name="relu")


def kernels() -> dict[str, Any]:
    """A module for each case that a template must serve."""
    image = tensor(1, 10, 12, 24)
    wide = tensor(1, 10, 12, 40)
    weight = tensor(5, 3, 3, 24, 8, name="w")
    cases = {
        "convolution": [
            image,
            weight,
            packed.conv2d(image, weight, 40, [1, 1], [1, 1, 1, 1], [1, 1]),
        ],
        "strided": [image, weight, packed.conv2d(image, weight, 40, [2, 1], [0, 1, 1, 1], [1, 1])],
        "ragged": [image, weight, packed.conv2d(image, weight, 37, [1, 1], [1, 1, 1, 1], [1, 1])],
    }
    taps = tensor(3, 3, 24, name="w")
    odd, odd_taps = tensor(1, 9, 9, 29), tensor(5, 5, 29, name="w")
    cases["depthwise"] = [image, taps, packed.depthwise(image, taps, [1, 1], [1, 1, 1, 1], [1, 1])]
    cases["odd depthwise"] = [
        odd, odd_taps, packed.depthwise(odd, odd_taps, [2, 2], [2, 2, 2, 2], [1, 1]),
    ]  # fmt: skip
    rows, matrix = tensor(6, 48), tensor(3, 1, 1, 48, 8, name="w")
    cases["dense"] = [rows, matrix, packed.dense(rows, matrix, 20)]
    patches, points = tensor(36, 6, 16), tensor(36, 2, 16, 8, name="w")
    cases["winograd product"] = [patches, points, winograd.product(patches, points)]
    cases["winograd input"] = [wide, winograd.input_transform(wide, [1, 1, 1, 1], [10, 12])]
    products = tensor(36, 9, 40)
    cases["winograd output"] = [products, winograd.output_transform(products, 1, [10, 12])]
    i, j = te.reduce_axis((0, 10)), te.reduce_axis((0, 12))
    pooled = te.compute((1, 24), lambda b, c: te.sum(image[b, i, j, c], axis=[i, j]), name="sum")
    cases["pooling"] = [image, pooled]
    cases["elementwise"] = [image, te.compute(image.shape, lambda *at: image[at] * 2 + 1)]
    made = {}
    for name, (*inputs, out) in cases.items():
        for suffix, last in (("", out), (" and ReLU", relu_behind(out))):
            made[name + suffix] = te.create_prim_func([*inputs, last])
    return {
        name: tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
        for name, func in made.items()
    }


def run(mod: Any, arrays: list[np.ndarray]) -> np.ndarray:
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    tvm.compile(mod, TARGET)(*tensors)
    return tensors[-1].numpy()


def try_space(mod: Any) -> dict[str, Any]:
    """The members' largest error against the module as it stands, as a share of its range."""
    rng = np.random.default_rng(0)
    shapes = [[int(s) for s in info.shape] for info in ArgInfo.from_prim_func(mod["main"])]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    arrays[-1][:] = np.nan
    wanted = run(mod, arrays)
    space = template_for(mod, 2)
    if space is None:
        return {"size": 0}
    numbers = sorted({round(n) for n in np.linspace(0, space.size - 1, MOST)})
    members = [member for member in map(space.member, numbers) if member is not None]
    errors = [
        float(np.abs(run(member.schedule.mod, arrays) - wanted).max() / np.abs(wanted).max())
        for member in members
    ]
    parallel = space.default().mod.script().count("T.parallel")
    return {
        "size": space.size,
        "legal": len(members) / len(numbers),
        "error": max(errors, default=float("inf")) if np.isfinite(errors).all() else float("inf"),
        "parallel": parallel,
    }


def ask(mod: Any) -> dict[str, Any]:
    """Proposals: until there are none, again with the same seed, and from a history."""

    def all_of(seed: int, times: Any) -> list[str]:
        space, rng = template_for(mod, 2), np.random.default_rng(seed)
        history: list[tuple[str, float | None]] = []
        while found := space.propose(4, {key for key, _ in history}, history, rng):
            history += [(each.key, times(each)) for each in found]
        return [key for key, _ in history]

    def cost(each: Any) -> float | None:
        # What the learned model has to find out: many columns are good, one kind fails.
        return None if each.config["order"] == "rows" else 1.0 / each.config["columns"]

    first = all_of(0, cost)
    space = template_for(mod, 2)
    resumed = space.propose(
        4, set(first[:-2]), [(key, 1.0) for key in first[:-2]], np.random.default_rng(1)
    )
    return {
        "all": first,
        "again": all_of(0, cost),
        "other": all_of(1, cost),
        "resumed": [each.key for each in resumed],
    }


if __name__ == "__main__":
    found = kernels()
    facts = {name: try_space(mod) for name, mod in found.items()}
    print(json.dumps({"kernels": facts, "proposals": ask(found["convolution"])}))
