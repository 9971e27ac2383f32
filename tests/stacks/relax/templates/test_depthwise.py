"""Depthwise convolution."""

from __future__ import annotations

from typing import Any

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    from template_cases import PARALLEL, SERIAL, UNROLLED, VECTORIZED, loops, names

    from tvmkd.stacks.relax.templates import depthwise
    from tvmkd.stacks.relax.templates.cpu import Cpu


SIZES: dict[str, dict[str, Any]] = {
    "plain": {},
    "odd": {"size": (9, 9, 29), "kernel": 5, "stride": 2, "pad": 2},
    "multiplier": {"size": (9, 9, 8), "multiplier": 3},
}


@pytest.mark.parametrize("sizes", SIZES)
@inside("relax")
def test_members_compute_what_the_kernel_does(sizes: str) -> None:
    cases.check_members(cases.depthwise(**SIZES[sizes]))


def configs(*sizes: Any, threads: int = 2, **more: Any) -> list[dict[str, Any]]:
    return depthwise.configs(cases.schedule(*cases.depthwise(*sizes, **more)), Cpu(threads=threads))


@inside("relax")
def test_other_kernels_are_not_its_own() -> None:
    assert depthwise.configs(cases.schedule(*cases.convolution()), Cpu()) == []
    assert depthwise.configs(cases.schedule(*cases.scaled(4, 8)), Cpu()) == []


@inside("relax")
def test_tiles_fit_the_registers_and_half_full_ones_come_first() -> None:
    found = configs((8, 12, 24))
    assert {config["width"] for config in found} == {8}
    for config in found:
        assert config["registers"] == config["rows"] * config["columns"] <= 14
        assert 8 % config["rows"] == 0
        assert 12 % config["columns"] == 0
    best = min(found, key=depthwise.cycles)
    assert best["registers"] in (6, 8)
    assert best["pad"] == "row"
    assert {config["width"] for config in configs((8, 12, 64))} == {32, 16, 8}
    assert {config["width"] for config in configs((8, 12, 29))} == {29}


@inside("relax")
def test_the_ways_to_pad() -> None:
    assert {config["pad"] for config in configs(pad=0)} == {"none"}
    found = configs()
    assert {config["pad"] for config in found} == {"row", "ahead", "inline"}
    repeated = configs(multiplier=2)
    assert {config["pad"] for config in repeated} == {"row", "ahead"}, "inline, it would gather"
    assert {config["order"] for config in found if config["pad"] == "row"} == {"rows"}
    assert {config["order"] for config in found if config["pad"] == "ahead"} == {"rows", "channels"}


@inside("relax")
def test_what_the_cost_model_is_told() -> None:
    found = configs((8, 12, 64), kernel=5, pad=2)[0]
    assert (found["taps"], found["last_tap"], found["work"]) == (25, 5, 25 * 8 * 12 * 64)
    assert found["input_bytes"] == 4 * 12 * 16 * 64, "with its padding"
    assert (found["row_bytes"], found["output_bytes"]) == (4 * 16 * 64, 4 * 8 * 12 * 64)
    steps = {(c["order"], c["rows"], c["width"]): c["steps"] for c in configs((8, 12, 64))}
    assert (steps["rows", 2, 8], steps["channels", 2, 8]) == (4, 8)


CONFIG = {"width": 8, "columns": 3, "rows": 2, "pad": "ahead", "order": "rows", "parallel": True}


@inside("relax")
def test_the_tile_of_a_schedule() -> None:
    made = cases.applied(depthwise, CONFIG, *cases.depthwise())
    tile = [(UNROLLED, 2), (UNROLLED, 3), (VECTORIZED, 8)]
    assert names(made) == [
        "padded",
        "depthwise_sum_init",
        "depthwise_sum_update",
        "depthwise_sum_local",
    ]
    outer = [(PARALLEL, 1 * 5), (SERIAL, 3), (SERIAL, 4)]  # rows, blocks of channels, columns
    assert loops(made, "depthwise_sum_local") == [*outer, *tile]
    taps = [(UNROLLED, 3), (UNROLLED, 3)]
    found = loops(made, "depthwise_sum_update")
    assert [loop for loop in found[3:] if loop[1] > 1] == [*taps, *tile]
    made = cases.applied(depthwise, {**CONFIG, "order": "channels"}, *cases.depthwise())
    outer = [(PARALLEL, 1 * 3), (SERIAL, 5), (SERIAL, 4)]
    assert loops(made, "depthwise_sum_local") == [*outer, *tile]


@inside("relax")
def test_where_the_padding_is_computed() -> None:
    made = cases.applied(depthwise, CONFIG, *cases.depthwise())
    assert loops(made, "padded") == [(PARALLEL, 12 * 14), (SERIAL, 3), (VECTORIZED, 8)]
    made = cases.applied(depthwise, {**CONFIG, "pad": "row"}, *cases.depthwise())
    found = loops(made, "padded")
    assert found[0] == (PARALLEL, 5), "the rows of one thread"
    assert (SERIAL, 4) in found, "2 rows of a tile and one on each side"
    assert found[-1] == (VECTORIZED, 8)
    made = cases.applied(depthwise, {**CONFIG, "pad": "inline"}, *cases.depthwise())
    assert "padded" not in names(made)
    serial = cases.applied(depthwise, {**CONFIG, "parallel": False}, *cases.depthwise())
    kinds = {kind for name in names(serial) for kind, _ in loops(serial, name)}
    assert PARALLEL not in kinds


@inside("relax")
def test_short_registers_get_narrow_tiles_that_share_their_inputs() -> None:
    cpu = Cpu(lanes=4, registers=32, latency=5, fma=1, loads=1)
    found = depthwise.configs(cases.schedule(*cases.depthwise((8, 12, 24))), cpu)
    assert {config["width"] for config in found} == {8, 4}

    def tile(**wanted: Any) -> float:
        return min(depthwise.cycles(c) for c in found if wanted.items() <= c.items())

    assert tile(width=4, columns=4, rows=2) < tile(width=4, columns=4, rows=1)
    assert tile(width=4, columns=4, rows=1) < tile(width=4, columns=1, rows=1)
    assert tile(width=4, rows=2, pad="row") < tile(width=4, rows=2, pad="inline")
    best = min(found, key=depthwise.cycles)
    inputs = best["rows"] * (best["columns"] + 2) * best["width"] // 4
    assert best["registers"] + inputs <= 40, "little is spilled"
    cases.check_members(cases.depthwise((8, 12, 24)), cpu=cpu)
