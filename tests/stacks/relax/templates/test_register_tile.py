"""The loops round a tile of sums; `test_packed` and `test_dot` check what it computes."""

from __future__ import annotations

from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    from template_cases import PARALLEL, SERIAL, loops

    from tvmkd.stacks.relax.templates import packed, primitives
    from tvmkd.stacks.relax.templates.register_tile import register_tile

CONFIG = {"rows": 1, "columns": 1, "blocks": 1, "order": "rows", "pad": "none", "parallel": True}


def tiled(least_outer: int, **changes: Any) -> list[tuple[int, int]]:
    """The loops round the reader of a product whose outermost loop has 36 turns."""
    sch = cases.schedule(*cases.winograd_product())
    parts = packed._parts(sch)
    assert parts is not None
    reader = sch.get(parts[1]).name_hint
    register_tile(sch, parts, {**CONFIG, **changes}, 8, least_outer=least_outer)
    assert primitives.named(sch, reader) is not None
    return loops(sch, reader)


@inside("relax")
def test_the_innermost_outer_loop_is_the_rows_where_there_are_enough() -> None:
    assert tiled(1, rows=4)[:2] == [(PARALLEL, 9 * 2), (SERIAL, 6)]
    assert tiled(2)[:2] == [(PARALLEL, 36 * 2), (SERIAL, 6)]


@inside("relax")
def test_columns_and_blocks_of_a_tile() -> None:
    found = [extent for _, extent in tiled(2, columns=3, blocks=2)]
    assert found == [36, 2, 3, 2, 8]
