"""The schedule of attention."""

from __future__ import annotations

from typing import Any

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    from template_cases import PARALLEL, UNROLLED, VECTORIZED, loops, scope, tensor

    from tvmkd.stacks.relax import attention_kernel as names
    from tvmkd.stacks.relax import vector_math
    from tvmkd.stacks.relax.attention_kernel import Attention, Operand, Step
    from tvmkd.stacks.relax.strided import Strided
    from tvmkd.stacks.relax.templates import attention, template_for
    from tvmkd.stacks.relax.templates.cpu import Cpu

    WIDE = Cpu(threads=2, lanes=16, registers=32)
    vector_math.install()


def kernel(
    rows: int = 21, columns: int = 30, inner: int = 16, size: int = 32, block: int = 8,
    order: tuple[int, ...] = (1, 0, 2), masked: bool = True, turned: bool = False,
) -> list[Any]:  # fmt: skip
    """Three heads with keys, queries and values in one tensor ``[tokens, heads, ...]``."""
    q, k, v = (
        Operand(place, Strided.whole((length, 3, width)).transposed([1, 0, 2]))
        for place, (length, width) in enumerate(((rows, inner), (columns, inner), (columns, size)))
    )
    if turned:  # channels first
        q = Operand(0, Strided.whole((3, inner, rows)).swapped())
    flat = [rows * 3 * inner, columns * 3 * inner, columns * 3 * size, rows * columns]
    mask = Strided.whole((rows, columns)).broadcast((3, rows, columns))
    steps = (Step("add", Operand(3, mask)),) if masked else ()
    sources = [tensor(count, name=f"x{i}") for i, count in enumerate(flat[: 3 + masked])]
    return [*sources, names.kernel(Attention(q, k, v, 0.25, steps, order, block), sources)]


@pytest.mark.parametrize(
    ("rows", "columns", "size", "block"), [(21, 30, 32, 8), (16, 17, 16, 16), (7, 12, 20, 16)]
)
@inside("relax")
def test_members_compute_what_the_kernel_does(
    rows: int, columns: int, size: int, block: int
) -> None:
    made = kernel(rows, columns, size=size, block=block)
    cases.check_members(made, operator=False)
    cases.check_members(made, operator=False, cpu=WIDE)
    other = kernel(rows, columns, size=size, block=block, order=(0, 2, 1), turned=True)
    cases.check_members(other, operator=False)


@inside("relax")
def test_tiles_fit_into_registers_and_the_fewest_cycles_come_first() -> None:
    space = template_for(cases.module(*kernel(64, 64, size=64, block=16)), WIDE)
    assert space is not None
    assert space.configs[0]["expected"] == min(each["expected"] for each in space.configs)
    for each in space.configs:
        assert each["keys"] * each["block"] // each["lanes"] <= 30
        assert each["queries"] * each["vectors"] <= 30
    assert {each["parallel"] for each in space.configs} == {True, False}
    assert attention.configs(cases.schedule(*cases.dense()), WIDE) == []


@inside("relax")
def test_queries_are_transposed_along_what_lies_side_by_side() -> None:
    (first, *_) = attention.configs(cases.schedule(*kernel(inner=16)), WIDE)
    assert first["along"] == "inner"
    (first, *_) = attention.configs(cases.schedule(*kernel(turned=True)), WIDE)
    assert first["along"] == "queries"


@inside("relax")
def test_a_thread_keeps_the_scores_of_a_block() -> None:
    made = kernel(64, 60, size=64, block=16)
    config = next(
        {**each, "parallel": True}
        for each in attention.configs(cases.schedule(*made), WIDE)
        if (each["keys"], each["queries"], each["vectors"]) == (12, 4, 4)
    )
    sch = cases.applied(attention, config, *made)
    # Three heads of four blocks; tiles of four queries with four vectors of values.
    assert loops(sch, names.OUT) == [
        (PARALLEL, 12), (0, 1), (0, 4), (UNROLLED, 4), (UNROLLED, 4), (VECTORIZED, 16),
    ]  # fmt: skip
    tile = [(UNROLLED, 12), (UNROLLED, 1), (VECTORIZED, 16)]
    assert loops(sch, names.SHIFTED)[-4:] == [(0, 5), *tile]
    assert loops(sch, names.SCORES + "_update")[-3:] == tile
    assert loops(sch, names.MOST + "_update")[-1] == (VECTORIZED, 16)
    assert {scope(sch, name) for name in (names.SHIFTED, names.POWERS, names.QUERIES)} == {"local"}
