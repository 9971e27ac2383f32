"""Depthwise convolutions of bytes: chunks that are interleaved, and the instruction inside."""

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
    from tvm import te
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    from tvmkd.stacks.relax import dot_products as dots
    from tvmkd.stacks.relax import quantized_kernels as kernels
    from tvmkd.stacks.relax.templates import depthwise_dot, template_for
    from tvmkd.stacks.relax.templates.cpu import Cpu

X86 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "opt-level": 0}
TARGETS: dict[str, tuple[dict[str, Any], str]] = {
    "avx2_bytes": ({**X86, "mcpu": "x86-64-v3"}, "avx2"),
    "avx2_pairs": ({**X86, "mcpu": "x86-64-v3"}, "avx2"),
    "vnni_512": ({**X86, "mcpu": "x86-64-v4", "mattr": ["+avx512vnni"]}, "avx512_vnni"),
}


def kernel(
    dot: Any, size: tuple[int, int, int] = (10, 12, 48), taps: int = 3, stride: int = 1
) -> list[Any]:
    """Rounded to bytes."""
    columns = (size[1] - 1) // stride + 1
    cell = kernels.Cell.of(taps, stride, columns, dot.group)
    packed = kernels.pack_depthwise(np.zeros((size[2], taps, taps), np.int64), dot, cell)
    image = te.placeholder((1, *size), "uint8", name="x")
    weight = te.placeholder(packed.shape, dot.weight, name="w")
    filled = size[2] + -size[2] % dot.lanes
    bias = te.placeholder((filled,), "int32", name="bias")
    scale = te.placeholder((filled,), "float32", name="scale")
    out = kernels.depthwise_dot(
        image, weight, bias, scale, dot=dot, cell=cell, channels=size[2], zero=7,
        strides=[stride] * 2, pads=[taps // 2] * 4, dilation=[1, 1],
        how=kernels.Rounded("uint8", 3, 0, 255, True),
    )  # fmt: skip
    return [image, weight, bias, scale, out]


@pytest.mark.parametrize("instruction", TARGETS)
@pytest.mark.parametrize(
    ("taps", "stride", "channels"), [(3, 1, 48), (3, 2, 48), (5, 1, 48), (3, 1, 29)]
)
@inside("relax")
def test_members_compute_what_the_kernel_does(
    instruction: str, taps: int, stride: int, channels: int
) -> None:
    target, feature = TARGETS[instruction]
    if feature not in machine.cpu_features():
        pytest.skip(f"needs {feature}")
    size = 10, 12, channels
    mod = cases.module(*kernel(dots.ALL[instruction], size, taps, stride))
    space = template_for(mod, Cpu(2))
    assert space is not None
    assert space.size is not None
    functions = cases.of_members(mod, space)
    assert len(functions) == 4
    library = compiled(tvm.IRModule(functions), target)
    rng = np.random.default_rng(0)
    infos = ArgInfo.from_prim_func(mod["main"])
    shapes = [[int(size) for size in info.shape] for info in infos]
    arrays = [
        rng.choice([0, 9, 255], shapes[0]).astype(np.uint8),
        rng.choice([-64, -1, 1, 64], shapes[1]).astype(dots.ALL[instruction].weight),
        rng.integers(-900, 900, shapes[2]).astype(np.int32),
        np.full(shapes[3], 3e-3, np.float32),
        np.zeros(shapes[4], np.uint8),
    ]
    cases.check_same(library, functions, arrays)


@inside("relax")
def test_other_kernels_are_not_its_own() -> None:
    for tensors in (cases.convolution(), cases.depthwise(), cases.quantised(dots.AVX2_BYTES)):
        assert depthwise_dot.configs(cases.schedule(*tensors), Cpu(2)) == []


@inside("relax")
def test_tiles_hold_whole_cells_and_fit_the_registers() -> None:
    found = depthwise_dot.configs(cases.schedule(*kernel(dots.VNNI_512, (8, 12, 96))), Cpu(2))
    assert {config["columns"] for config in found} == {2, 4, 6, 12}
    for config in found:
        assert 8 % config["chunk"] == 6 % config["blocks"] == 0
        assert config["sums"] <= 27 - depthwise_dot.SPARE
    assert {config["chunk"] for config in found} == {1, 2, 4, 8}


@inside("relax")
def test_a_chunk_is_padded_and_interleaved_before_it_is_multiplied() -> None:
    config = {"columns": 4, "blocks": 1, "chunk": 5, "parallel": True}
    made = cases.applied(depthwise_dot, config, *kernel(dots.AVX2_BYTES))
    assert names(made)[:2] == ["padded", "interleaved"]
    assert loops(made, "padded")[0] == loops(made, "interleaved")[0] == (PARALLEL, 12)
    # Five rows and the two that their taps reach further.
    assert loops(made, "interleaved")[2] == (0, 7)
    assert "llvm.x86.avx2.pmadd.ub.sw" in made.mod.script()
