"""Which instruction sums which weights exactly, and that each target's code has its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    import tvm

    from tvmkd.stacks.relax import dot_products as dots
    from tvmkd.stacks.relax.templates import template_for
    from tvmkd.stacks.relax.templates.cpu import Cpu

X86 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu"}
ARM = {"kind": "llvm", "mtriple": "aarch64-linux-gnu"}
TARGETS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "haswell": ({**X86, "mcpu": "x86-64-v3"}, ["avx2_bytes", "avx2_pairs"]),
    "alderlake": ({**X86, "mcpu": "alderlake"}, ["vnni_256", "avx2_pairs"]),
    "skylake": (
        {**X86, "mcpu": "x86-64-v4"},
        ["avx512_bytes", "avx2_bytes", "avx512_pairs", "avx2_pairs"],
    ),
    "cascadelake": (
        {**X86, "mcpu": "cascadelake"},
        ["vnni_512", "vnni_256", "avx512_pairs", "avx2_pairs"],
    ),
    "baseline": ({**X86, "mcpu": "x86-64"}, [""]),
    "a57": ({**ARM, "mcpu": "cortex-a57", "mattr": ["+neon"]}, ["neon_smull", ""]),
    "dotprod": ({**ARM, "mattr": ["+neon", "+dotprod"]}, ["neon_sdot", ""]),
}
CODE = {
    "avx2_bytes": "vpmaddubsw",
    "avx2_pairs": "vpmaddwd",
    "avx512_bytes": "vpmaddubsw",
    "avx512_pairs": "vpmaddwd",
    "vnni_256": "vpdpbusd",
    "vnni_512": "vpdpbusd",
    "neon_smull": "smlal",
    "neon_sdot": "sdot",
}


@inside("relax")
def test_the_instructions_of_a_target_are_those_of_its_features() -> None:
    for values, wanted in TARGETS.values():
        found = [dot.name for dot in dots.available(tvm.target.Target(values))]
        assert found == wanted
    assert [dot.name for dot in dots.available(tvm.target.Target("c"))] == [""]


@pytest.mark.parametrize("target", ["cascadelake", "a57", "dotprod"])
@inside("relax")
def test_a_kernel_s_code_has_the_instruction(target: str) -> None:
    values, names = TARGETS[target]
    dot = dots.ALL[names[0]]
    space = template_for(
        cases.module(*cases.quantised(dot, (3, 3), 16, 4, pads=(0, 0, 0, 0))), Cpu()
    )
    assert space is not None
    made = space.default()
    assert made is not None
    library = tvm.tirx.build(made.mod, target=tvm.target.Target(values))
    code = library.inspect_source("asm")
    lines = [line for line in code.splitlines() if CODE[dot.name] in line]
    assert lines, code
    if dot.lanes == 16:
        assert any("zmm" in line for line in lines)


def chosen(target: str, *rows: list[int], channels: int = 8) -> str:
    weight = np.array(rows, np.int64)
    return str(dots.select(tvm.target.Target(TARGETS[target][0]), weight, channels).name)


@inside("relax")
def test_an_instruction_that_would_saturate_is_not_chosen() -> None:
    # 255 times 128 is the largest sum of two products that 16 bits hold.
    assert chosen("haswell", [64, 64, -64, -64]) == "avx2_bytes"
    assert chosen("haswell", [1, 127, -1, -127]) == "avx2_bytes"
    assert chosen("haswell", [127, -127, -128, 0]) == "avx2_bytes", "they never come together"
    assert chosen("haswell", [0, 64, 65, 0]) == "avx2_bytes", "no pair"
    assert chosen("haswell", [64, 65]) == "avx2_pairs"
    assert chosen("haswell", [0, 0, -64, -65]) == "avx2_pairs"
    assert chosen("haswell", [1], [127]) == "avx2_bytes", "rows are filled with zeros"
    # 128 times 255.
    assert chosen("a57", [-128, 127, -127, 127]) == "neon_smull"
    assert chosen("a57", [-128, 0, -128, 0]) == ""
    assert chosen("a57", [-128, -128, 0, 0]) == "neon_smull"
    # These never saturate.
    assert chosen("alderlake", [-128, -128, 127, 127]) == "vnni_256"
    assert chosen("dotprod", [-128, -128, 127, 127]) == "neon_sdot"


@inside("relax")
def test_weights_that_are_no_bytes_any_more_take_pairs_of_16_bits() -> None:
    for target, wanted in (
        ("haswell", "avx2_pairs"),
        ("alderlake", "avx2_pairs"),
        ("cascadelake", "avx2_pairs"),
        ("a57", ""),
        ("dotprod", ""),
    ):
        assert chosen(target, [-129, 0]) == wanted
        assert chosen(target, [128, 0]) == wanted


@inside("relax")
def test_no_lane_is_idle_where_another_instruction_has_fewer() -> None:
    assert chosen("cascadelake", [1, 2], channels=32) == "vnni_512"
    assert chosen("cascadelake", [1, 2], channels=24) == "vnni_256"
    assert chosen("cascadelake", [1, 2], channels=10) == "vnni_512", "some are idle anyway"
    assert chosen("skylake", [1, 2], channels=24) == "avx2_bytes"
