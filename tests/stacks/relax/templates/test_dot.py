"""Convolutions and dense layers of bytes: tiles of sums, and the instruction inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

from tvmkd.base import machine

if INSIDE:
    import template_cases as cases
    import tvm
    from relax_graphs import compiled
    from template_cases import PARALLEL, loops, names
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    from tvmkd.stacks.relax import dot_products as dots
    from tvmkd.stacks.relax.templates import dot, template_for
    from tvmkd.stacks.relax.templates.cpu import Cpu

AVX2 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3", "opt-level": 0}
needs_avx2 = pytest.mark.skipif("avx2" not in machine.cpu_features(), reason="needs AVX2")
KERNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bytes": ("avx2_bytes", {"channels": 16, "inner": 8}),
    "signed": ("avx2_bytes", {"dtype": "int8", "pads": (0, 0, 0, 0), "channels": 16, "inner": 8}),
    "pairs": ("avx2_pairs", {"strides": (2, 1), "inner": 5, "channels": 16}),
    "ragged": ("avx2_bytes", {"channels": 13, "inner": 4}),
    "plain": ("", {"channels": 16, "inner": 4}),
}


def configs(tensors: Any, threads: int = 2) -> list[dict[str, Any]]:
    return dot.configs(cases.schedule(*tensors), Cpu(threads))


@needs_avx2
@pytest.mark.parametrize("kernel", KERNELS)
@inside("relax")
def test_members_compute_what_the_kernel_does(kernel: str) -> None:
    """With the largest weights that the instruction takes, and the largest data."""
    name, options = KERNELS[kernel]
    instruction = dots.ALL[name]
    mod = cases.module(*cases.quantised(instruction, **options))
    space = template_for(mod, Cpu(2))
    assert space is not None
    assert space.size is not None
    functions = cases.of_members(mod, space)
    assert len(functions) > 2
    library = compiled(tvm.IRModule(functions), AVX2)
    rng, arrays = np.random.default_rng(0), []
    for number, info in enumerate(ArgInfo.from_prim_func(mod["main"])):
        shape, dtype = [int(size) for size in info.shape], str(info.dtype).removeprefix("T.")
        if number == 1:
            arrays.append(rng.choice([-64, -1, 1, 64], shape).astype(dtype))
        elif dtype == "float32":
            arrays.append(np.full(shape, 1e-3, np.float32))
        elif dtype == "int32":
            arrays.append(rng.integers(-900, 900, shape).astype(dtype))
        else:
            limits = np.iinfo(dtype)
            arrays.append(rng.choice([limits.min, 9, limits.max], shape).astype(dtype))
    cases.check_same(library, functions, arrays)


@inside("relax")
def test_other_kernels_are_not_its_own() -> None:
    assert configs(cases.convolution()) == []
    assert configs(cases.depthwise()) == []


@inside("relax")
def test_tiles_divide_the_kernel_and_fit_the_registers() -> None:
    for name, most in (("avx2_bytes", 12), ("vnni_512", 27)):
        found = configs(cases.quantised(dots.ALL[name], channels=96, size=(8, 12)))
        blocks = 96 // dots.ALL[name].lanes
        for config in found:
            assert 8 % config["rows"] == 12 % config["columns"] == blocks % config["blocks"] == 0
            assert 4 <= config["sums"] <= most
        assert max(config["sums"] for config in found) > most - 4
        assert {config["pad"] for config in found if config["order"] == "rows"} == {"row", "ahead"}


@inside("relax")
def test_the_tile_with_the_fewest_loads_comes_first() -> None:
    space = template_for(cases.module(*cases.quantised(dots.AVX2_BYTES, (8, 12), 48)), Cpu(1))
    assert space is not None
    best = space.member(0)
    assert best is not None
    assert best.config["sums"] == 12
    assert dot.cycles(best.config) < dot.cycles({**best.config, "reads": best.config["reads"] + 1})


@inside("relax")
def test_the_instruction_is_inside_the_tile() -> None:
    config = {
        "rows": 2, "columns": 3, "blocks": 1, "order": "rows", "pad": "row", "parallel": True,
    }  # fmt: skip
    tensors = cases.quantised(dots.AVX2_BYTES)
    made = cases.applied(dot, config, *tensors)
    assert names(made)[0] == "padded"
    assert loops(made, "padded")[0] == (PARALLEL, 5)
    assert "llvm.x86.avx2.pmadd.ub.sw" in made.mod.script()
