"""Kernels without a reduction."""

from __future__ import annotations

from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    from template_cases import PARALLEL, SERIAL, VECTORIZED, loops, names
    from tvm import te

    from tvmkd.stacks.relax.templates import elementwise
    from tvmkd.stacks.relax.templates.cpu import Cpu


def configs(*tensors: Any, threads: int = 2) -> list[tuple[bool, int]]:
    found = elementwise.configs(cases.schedule(*tensors), Cpu(threads=threads))
    assert all(config["threads"] == threads for config in found)
    return [(config["parallel"], config["width"]) for config in found]


@inside("relax")
def test_members_compute_what_the_kernel_does() -> None:
    x = cases.tensor(1, 10, 12, 24)
    cases.check_members([x, te.compute(x.shape, lambda *at: x[at] * 2 + 1)])


@inside("relax")
def test_a_kernel_with_a_reduction_is_not_its_own() -> None:
    assert configs(*cases.pooling()) == []
    assert configs(*cases.dense()) == []


@inside("relax")
def test_the_best_width_comes_first_then_the_widest() -> None:
    assert configs(*cases.scaled(2, 24), threads=1) == [(False, 8), (False, 24), (False, 12)]
    assert configs(*cases.scaled(2, 7), threads=1) == [(False, 7), (False, 1)]


@inside("relax")
def test_threads_are_tried_first_where_there_is_much_to_do() -> None:
    much, little = (128, 128), (128, 127)  # 1 << 14 elements, and fewer
    assert [flag for flag, _ in configs(*cases.scaled(*much))] == [True] * 3 + [False] * 3
    assert next(iter(configs(*cases.scaled(*little)))) == (False, 1)
    assert {flag for flag, _ in configs(*cases.scaled(*much), threads=1)} == {False}


@inside("relax")
def test_every_output_is_scheduled_each_with_a_width_that_divides_it() -> None:
    x = cases.tensor(4, 24)
    half = te.compute(x.shape, lambda i, j: x[i, j] * 2, name="half")
    wide = te.compute((4, 24), lambda i, j: half[i, j] + 1, name="wide")
    narrow = te.compute((4, 9), lambda i, j: half[i, j] + 1, name="narrow")
    config = {"parallel": True, "width": 12}
    made = cases.applied(elementwise, config, x, wide, narrow)
    assert names(made) == ["wide", "narrow"], "what is between is inlined"
    assert loops(made, "wide") == [(PARALLEL, 4 * 2), (VECTORIZED, 12)]
    assert loops(made, "narrow") == [(PARALLEL, 4 * 1), (VECTORIZED, 9)]
    made = cases.applied(elementwise, {**config, "parallel": False}, x, wide, narrow)
    assert loops(made, "wide") == [(SERIAL, 4), (SERIAL, 2), (VECTORIZED, 12)]
