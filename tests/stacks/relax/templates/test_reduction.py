"""Pooling and means over pixels."""

from __future__ import annotations

from typing import Any

from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    from template_cases import PARALLEL, SERIAL, UNROLLED, VECTORIZED, loops, names
    from tvm import te

    from tvmkd.stacks.relax.templates import reduction
    from tvmkd.stacks.relax.templates.cpu import Cpu


@inside("relax")
def test_members_compute_what_the_kernel_does() -> None:
    cases.check_members(cases.pooling())


def windows(channels: int = 24) -> list[Any]:
    """The maxima of windows of 2x2 pixels: an image of 5x6."""
    image = cases.tensor(1, 10, 12, channels)
    i, j = te.reduce_axis((0, 2)), te.reduce_axis((0, 2))
    largest = te.compute(
        (1, 5, 6, channels),
        lambda b, h, w, c: te.max(image[b, 2 * h + i, 2 * w + j, c], axis=[i, j]),
        name="largest",
    )
    return [image, largest]


def configs(tensors: Any, threads: int = 2) -> list[dict[str, Any]]:
    return reduction.configs(cases.schedule(*tensors), Cpu(threads=threads))


@inside("relax")
def test_vectors_columns_and_threads() -> None:
    assert configs(cases.pooling()) == [
        {"threads": 2, "parallel": flag, "width": 8, "columns": 1} for flag in (True, False)
    ]
    found = configs(windows(32), threads=1)
    assert [(config["width"], config["columns"]) for config in found] == [
        (width, columns) for width in (32, 16, 8) for columns in (1, 2, 3)
    ]
    assert {config["parallel"] for config in found} == {False}
    assert {config["width"] for config in configs(windows(29))} == {29}


@inside("relax")
def test_only_one_sum_with_channels_side_by_side_is_its_own() -> None:
    assert configs(cases.pooling(channels=4)) != []
    assert configs(cases.pooling(channels=3)) == [], "less than a vector"
    x = cases.tensor(8, 16)
    k, m = te.reduce_axis((0, 16)), te.reduce_axis((0, 8))
    rows = te.compute((8,), lambda i: te.sum(x[i, k], axis=k), name="rows")
    assert configs([x, rows]) == [], "a vector would gather"
    columns = te.compute((16,), lambda j: te.sum(x[m, j], axis=m), name="columns")
    assert configs([x, columns]) != []
    whole = te.compute((1,), lambda _: te.sum(x[m, k], axis=[m, k]), name="whole")
    assert configs([x, whole]) == []
    n = te.reduce_axis((0, 8))
    squares = te.compute(
        (16,), lambda j: te.sum(x[n, j] * x[n, j] - columns[j], axis=n), name="squares"
    )
    assert configs([x, squares]) == [], "two sums"
    assert configs(cases.scaled(8, 16)) == []


@inside("relax")
def test_the_tile_of_a_schedule() -> None:
    config = {"parallel": True, "width": 8, "columns": 3}
    made = cases.applied(reduction, config, *windows())
    assert names(made) == ["largest_init", "largest_update", "largest_local"]
    tile = [(UNROLLED, 3), (VECTORIZED, 8)]
    # Rows, threes of columns and blocks of channels in one loop for the threads.
    assert loops(made, "largest_local") == [(PARALLEL, 5 * 2 * 3), *tile]
    found = [loop for loop in loops(made, "largest_update")[1:] if loop[1] > 1]
    assert found == [(SERIAL, 2), (SERIAL, 2), *tile]
    made = cases.applied(reduction, {**config, "parallel": False}, *windows())
    assert loops(made, "largest_local") == [
        (SERIAL, 1),
        (SERIAL, 5),
        (SERIAL, 2),
        (SERIAL, 3),
        *tile,
    ]


@inside("relax")
def test_a_kernel_of_channels_alone_has_no_columns() -> None:
    x = cases.tensor(8, 16)
    m = te.reduce_axis((0, 8))
    columns = te.compute((16,), lambda j: te.sum(x[m, j], axis=m), name="columns")
    made = cases.applied(reduction, {"parallel": True, "width": 8, "columns": 1}, x, columns)
    assert loops(made, "columns_local") == [(PARALLEL, 2), (VECTORIZED, 8)]
