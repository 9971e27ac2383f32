"""What the schedule templates share, on a padded sum with an operator behind it."""

from __future__ import annotations

from typing import Any

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    from template_cases import PARALLEL, SERIAL, UNROLLED, VECTORIZED, loops, names
    from tvm import s_tir, te

    from tvmkd.stacks.relax.concatenation import concatenate
    from tvmkd.stacks.relax.templates import primitives as p


def padded_sums() -> Any:
    """``padded`` (elementwise), ``packed_sum`` over it, ``relu`` behind."""
    *inputs, total = cases.convolution(channels=16, size=(6, 10), inner=4)
    return cases.schedule(*inputs, cases.relu(total))


@inside("relax")
def test_divisors_up_to_a_limit() -> None:
    assert p.divisors(12, 5) == [1, 2, 3, 4]
    assert p.divisors(12, 12) == [1, 2, 3, 4, 6, 12]
    assert p.divisors(7, 100) == [1, 7]


@inside("relax")
def test_a_vector_is_whole_registers_or_the_whole_of_a_ragged_row() -> None:
    widths = {
        32: 16,
        48: 16,
        24: 8,
        12: 4,
        4: 4,
        7: 7,
        1: 1,
        61: 61,
        63: 63,
        65: 13,
        67: 1,
        126: 63,
    }
    assert {extent: p.vector_width(extent) for extent in widths} == widths


@inside("relax")
def test_blocks_by_their_name_and_place() -> None:
    sch = padded_sums()
    assert names(sch) == ["padded", "packed_sum", "relu"]
    pad, total, out = p.blocks(sch)
    assert p.named(sch, "nothing") is None
    found = p.named(sch, "packed_sum")
    assert found is not None
    assert sch.get(found).name_hint == "packed_sum"
    assert [p.is_reduction(sch, block) for block in (pad, total, out)] == [False, True, False]
    assert [p.is_output(sch, block) for block in (pad, total, out)] == [False, False, True]
    assert p.extents(sch, total) == [1, 6, 10, 16, 3, 3, 4]
    assert p.space_extents(sch, total) == [1, 6, 10, 16]


@inside("relax")
def test_elementwise_blocks_are_inlined_but_for_outputs_and_those_to_keep() -> None:
    x = cases.tensor(4, 8)
    first = te.compute(x.shape, lambda i, j: x[i, j] * 2, name="first")
    second = te.compute(x.shape, lambda i, j: first[i, j] + 1, name="second")
    for keep, left in (((), ["second"]), (("first",), ["first", "second"])):
        sch = cases.schedule(x, second)
        p.inline_cheap(sch, keep)
        assert names(sch) == left
    sch = padded_sums()
    p.inline_cheap(sch)
    assert names(sch) == ["packed_sum", "relu"]


@inside("relax")
def test_the_reader_of_a_sum_is_its_only_one_or_a_copy() -> None:
    sch = padded_sums()
    assert sch.get(p.epilogue_of(sch, p.named(sch, "packed_sum"))).name_hint == "relu"
    sch = cases.schedule(*cases.convolution())
    reader = p.epilogue_of(sch, p.named(sch, "packed_sum"))
    assert names(sch) == ["padded", "packed_sum", "packed_sum_local"]
    assert p.is_output(sch, reader)
    *inputs, total = cases.pooling()
    sch = cases.schedule(*inputs, cases.relu(total), cases.relu(total))
    with pytest.raises(ValueError, match="more than one reader"):
        p.epilogue_of(sch, p.named(sch, "sum"))


@inside("relax")
def test_a_block_is_spread_over_threads_and_vectors() -> None:
    for parallel, width, wanted in (
        (True, None, [(PARALLEL, 6 * 3), (VECTORIZED, 16)]),
        (False, None, [(SERIAL, 6), (SERIAL, 3), (VECTORIZED, 16)]),
        (True, 8, [(PARALLEL, 6 * 6), (VECTORIZED, 8)]),
    ):
        sch = cases.schedule(*cases.scaled(6, 48))
        p.spread(sch, p.named(sch, "scaled"), parallel=parallel, width=width)
        assert loops(sch, "scaled") == wanted
    sch = cases.schedule(*cases.scaled(48))
    p.spread(sch, p.named(sch, "scaled"), parallel=True)
    assert loops(sch, "scaled") == [(PARALLEL, 3), (VECTORIZED, 16)]


@inside("relax")
def test_threads_share_as_few_loops_as_give_them_turns() -> None:
    for shape, wanted in (
        ((60, 4, 8), [(PARALLEL, 60), (SERIAL, 4), (SERIAL, 8)]),
        ((6, 8, 8), [(PARALLEL, 48), (SERIAL, 8)]),
        ((6, 7, 8), [(PARALLEL, 6 * 7 * 8)]),
        ((3,), [(PARALLEL, 3)]),
    ):
        sch = cases.schedule(*cases.scaled(*shape))
        inner = p.share(sch, sch.get_loops(p.named(sch, "scaled")), parallel=True)
        assert loops(sch, "scaled") == wanted
        assert int(sch.get(inner).extent) == wanted[-1][1]
    sch = cases.schedule(*cases.scaled(60, 4))
    p.share(sch, sch.get_loops(p.named(sch, "scaled")), parallel=False)
    assert loops(sch, "scaled") == [(SERIAL, 60), (SERIAL, 4)]


@inside("relax")
def test_what_is_repeated_is_stored_several_times() -> None:
    x = cases.tensor(60, 8)
    twice = te.compute((60, 16), lambda i, j: x[i, j // 2] * 2, name="twice")
    for parallel in (True, False):
        sch = cases.schedule(x, twice)
        assert p.repeats(sch, p.named(sch, "twice")) == 2
        p.spread(sch, p.named(sch, "twice"), parallel=parallel)
        outer = PARALLEL if parallel else SERIAL
        assert loops(sch, "twice") == [(outer, 60), (SERIAL, 8), (UNROLLED, 2)]
    sch = cases.schedule(x, twice)
    p.vectorize_rows(sch, p.named(sch, "twice"))
    assert loops(sch, "twice") == [(SERIAL, 60), (SERIAL, 8), (UNROLLED, 2)]
    sch = cases.schedule(*cases.scaled(8))
    assert p.repeats(sch, p.named(sch, "scaled")) == 1


@inside("relax")
def test_a_reshape_is_no_repetition() -> None:
    x = cases.tensor(4, 56, 56)
    rows = te.compute((4, 3136), lambda i, j: x[j // 3136 + i, j % 3136 // 56, j % 56], name="rows")
    sch = cases.schedule(x, rows)
    assert p.repeats(sch, p.named(sch, "rows")) == 1
    p.spread(sch, p.named(sch, "rows"), parallel=False)
    assert loops(sch, "rows") == [(SERIAL, 4), (SERIAL, 196), (VECTORIZED, 16)]


@inside("relax")
def test_neighbours_between_the_conditions_of_a_concatenation() -> None:
    def found(*tensors: Any) -> int:
        sch = cases.schedule(*tensors)
        return p.alike(sch, p.blocks(sch)[-1])

    assert found(*cases.scaled(2, 24)) == 24
    parts = [cases.tensor(2, 24, name="a"), cases.tensor(2, 36, name="b")]
    assert found(*parts, concatenate(*parts)) == 12


@inside("relax")
def test_a_tile_is_unrolled_but_for_its_last_loop() -> None:
    sch = cases.schedule(*cases.scaled(2, 3, 8))
    p.unroll_tile(sch, sch.get_loops(p.named(sch, "scaled")))
    assert loops(sch, "scaled") == [(UNROLLED, 2), (UNROLLED, 3), (VECTORIZED, 8)]


@inside("relax")
def test_the_innermost_loop_in_vectors() -> None:
    sch = cases.schedule(*cases.scaled(2, 24))
    p.vectorize_rows(sch, p.named(sch, "scaled"))
    assert loops(sch, "scaled") == [(SERIAL, 2), (SERIAL, 3), (VECTORIZED, 8)]


@inside("relax")
def test_a_tile_of_sums_stays_in_registers_while_the_reduction_runs() -> None:
    for lanes, unroll, wanted in (
        (None, False, [(SERIAL, 10), (SERIAL, 12), (UNROLLED, 1), (VECTORIZED, 24)]),
        (8, True, [(UNROLLED, 10), (UNROLLED, 12), (UNROLLED, 1), (UNROLLED, 3), (VECTORIZED, 8)]),
    ):
        *inputs, total = cases.pooling()
        sch = cases.schedule(*inputs, cases.relu(total))
        block, out = p.named(sch, "sum"), p.named(sch, "relu")
        (outer, _) = sch.get_loops(out)
        sch.compute_at(block, outer, preserve_unit_loops=True)
        p.sum_in_registers(sch, block, lanes=lanes, unroll_folds=unroll)
        assert names(sch) == ["sum_init", "sum_update", "relu"]
        assert loops(sch, "sum_update")[1:] == wanted
        # The sums start at zero in the same tile.
        assert loops(sch, "sum_init")[1:] == wanted[2:]
        assert cases.scope(sch, "sum_update") == "local"


@inside("relax")
def test_what_cannot_be_inlined_is_left() -> None:
    x = cases.tensor(4, 8)
    k = te.reduce_axis((0, 8))
    sums = te.compute((4,), lambda i: te.sum(x[i, k], axis=k), name="sums")
    sch = cases.schedule(x, te.compute((4,), lambda i: sums[i] + 1, name="last"))
    p.inline_cheap(sch)
    assert names(sch) == ["sums", "last"]
    with pytest.raises(s_tir.ScheduleError):
        sch.compute_inline(p.named(sch, "sums"))


@inside("relax")
def test_a_sum_may_compute_a_pixel_more_than_its_reader_needs() -> None:
    def covers(*tensors: Any) -> bool:
        sch = cases.schedule(*tensors)
        total = p.named(sch, "packed_sum")
        return p.covers(sch, total, p.epilogue_of(sch, total))

    assert covers(*cases.dense(6, 16, 24))
    assert covers(*cases.dense(13, 16, 24))
    assert not covers(*cases.dense(6, 16, 20)), "channels are cut off"
