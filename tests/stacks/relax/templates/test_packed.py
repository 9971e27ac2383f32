"""Convolution and dense layers over packed weights."""

from __future__ import annotations

from typing import Any

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    from template_cases import PARALLEL, SERIAL, UNROLLED, VECTORIZED, loops, names

    from tvmkd.stacks.relax.templates import packed
    from tvmkd.stacks.relax.templates.cpu import Cpu

# A whole number of blocks of channels, strides and pads that differ on each side, a channel count
# that fills no block, a dense layer, the products of Winograd.
KERNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "convolution": ("convolution", {}),
    "strided": ("convolution", {"strides": (2, 1), "pads": (0, 1, 1, 1)}),
    "ragged": ("convolution", {"channels": 37}),
    "wide blocks": ("convolution", {"channels": 32, "lanes": 16}),
    "ragged wide blocks": ("convolution", {"channels": 45, "lanes": 16}),
    "dense": ("dense", {}),
    "scale of channels": ("scale", {}),
    "sequences": ("sequences", {"length": 6, "batch": 1}),
    "dense of 13 rows": ("dense", {"rows": 13, "channels": 24}),
    "13 columns": ("convolution", {"size": (4, 13), "strides": (1, 1)}),
    "13 columns without pads": ("convolution", {"size": (4, 15), "pads": (0, 0, 0, 0)}),
    "winograd product": ("winograd_product", {}),
}


@pytest.mark.parametrize("kernel", KERNELS)
@inside("relax")
def test_members_compute_what_the_kernel_does(kernel: str) -> None:
    make, options = KERNELS[kernel]
    cases.check_members(getattr(cases, make)(**options))


def configs(tensors: Any, threads: int = 2) -> list[dict[str, Any]]:
    return packed.configs(cases.schedule(*tensors), Cpu(threads=threads))


@inside("relax")
def test_other_kernels_are_not_its_own() -> None:
    assert configs(cases.depthwise()) == []
    assert configs(cases.pooling()) == []


@inside("relax")
def test_tiles_divide_the_kernel_and_fit_the_registers() -> None:
    found = configs(cases.convolution(channels=40, size=(10, 12)))
    for config in found:
        assert 10 % config["rows"] == 12 % config["columns"] == 5 % config["blocks"] == 0
        assert config["sums"] == config["rows"] * config["columns"] * config["blocks"]
        assert 4 <= config["sums"] <= 14
    assert {config["rows"] for config in found} == {1, 2}
    # Each of a batch of rows reads the same weights, whatever axis it is on.
    assert {config["rows"] for config in configs(cases.sequences(8, 1))} == {1, 2, 4}
    # Rows of patches share no weights.
    assert {config["rows"] for config in configs(cases.winograd_product())} == {1}
    # A layer of one row and two blocks has no larger tile, one with five blocks has.
    assert {config["sums"] for config in configs(cases.dense(1, 48, 16))} == {1, 2}
    assert {config["sums"] for config in configs(cases.dense(1, 48, 40))} == {5}


@inside("relax")
def test_tiles_of_wide_blocks_fit_the_registers_of_their_core() -> None:
    image = cases.convolution(channels=48, size=(10, 12), lanes=16)
    wide = packed.configs(cases.schedule(*image), Cpu(lanes=16, registers=32))
    assert 14 < max(config["sums"] for config in wide) <= 30
    assert {config["lanes"] for config in wide} == {16}
    # With registers of 8 floats, each block takes two.
    assert max(config["sums"] for config in configs(image)) == 6


@inside("relax")
def test_cycles_of_a_multiply_add() -> None:
    def cycles(tensors: Any, *tile: int) -> float:
        """Of a tile of rows, columns and blocks."""
        names = ("rows", "columns", "blocks")
        found = [c for c in configs(tensors) if tuple(c[name] for name in names) == tile]
        return float(found[0]["cycles"])

    image = cases.convolution(channels=48, size=(10, 12))
    assert cycles(image, 1, 4, 1) == 1.0, "four sums wait for the latency"
    assert cycles(image, 1, 6, 2) == 0.5, "two multiply-adds start in each cycle"
    assert cycles(image, 1, 12, 1) == pytest.approx(13 / 2 / 12), "12 + 1 loads for 12 sums"
    assert cycles(image, 2, 3, 2) == 0.5


@inside("relax")
def test_the_cheapest_tile_by_reckoning() -> None:
    found = configs(cases.convolution(channels=48, size=(10, 12)))
    best = min(found, key=packed.cycles)
    assert (best["cycles"], best["order"]) == (0.5, "channels")
    # Twelve blocks for each pixel would read all weights again for each, from the second cache.
    deep = configs(cases.dense(7, 1024, 96))
    assert min(deep, key=packed.cycles)["columns"] == 7
    far = next(c for c in deep if (c["columns"], c["blocks"]) == (1, 12))
    assert (far["far"], far["tile_bytes"]) == (1.0, 12 * 1024 * 32)


@inside("relax")
def test_what_the_cost_model_is_told() -> None:
    found = configs(cases.convolution(channels=48, size=(10, 12), inner=24))
    first = found[0]
    assert (first["inner"], first["taps"], first["groups"]) == (24, 9, 1)
    assert first["work"] == 9 * 24 * 48 * 120
    assert first["weight_bytes"] == 4 * 9 * 24 * 48
    assert first["input_bytes"] == 4 * 12 * 14 * 24, "with its padding"
    steps = {(c["order"], c["pad"], c["rows"], c["blocks"]): c["steps"] for c in found}
    assert steps["channels", "ahead", 2, 2] == 5 * 3
    assert steps["rows", "row", 2, 2] == 5
    assert not first["ragged"]
    assert configs(cases.convolution(channels=37))[0]["ragged"]
    plain, silu = cases.convolution(), cases.convolution()
    silu[-1] = cases.silu(silu[-1])
    assert configs(silu)[0]["epilogue"] > configs(plain)[0]["epilogue"] + 20


@inside("relax")
def test_the_orders_and_the_ways_to_pad() -> None:
    found = configs(cases.convolution())
    kinds = {(config["pad"], config["order"]) for config in found}
    assert kinds == {("ahead", "channels"), ("ahead", "rows"), ("row", "rows")}
    assert {config["order"] for config in configs(cases.dense(2))} == {"channels", "rows"}
    tall = configs(cases.convolution(channels=16, size=(8, 2), inner=4))
    assert {config["order"] for config in tall} == {"channels", "rows"}
    found = configs(cases.convolution(pads=(0, 0, 0, 0)))
    assert {config["pad"] for config in found} == {"none"}
    assert {config["order"] for config in configs(cases.dense(1, 48, 32))} == {"channels"}


CONFIG = {
    "rows": 2, "columns": 3, "blocks": 1, "lanes": 8, "order": "channels", "pad": "ahead",
    "parallel": True,
}  # fmt: skip


@inside("relax")
def test_the_tile_of_a_schedule() -> None:
    made = cases.applied(packed, CONFIG, *cases.convolution())
    tile = [(UNROLLED, 2), (UNROLLED, 3), (UNROLLED, 1), (VECTORIZED, 8)]
    assert names(made) == ["padded", "packed_sum_init", "packed_sum_update", "packed_sum_local"]
    assert loops(made, "packed_sum_local") == [(PARALLEL, 5 * 5), (SERIAL, 4), *tile]
    found = [loop for loop in loops(made, "packed_sum_update")[2:] if loop[1] > 1]
    assert found == [
        (SERIAL, 3),
        (SERIAL, 3),
        (SERIAL, 24),
        (UNROLLED, 2),
        (UNROLLED, 3),
        (VECTORIZED, 8),
    ]
    assert loops(made, "padded") == [(PARALLEL, 12 * 14), (SERIAL, 3), (VECTORIZED, 8)]


@inside("relax")
def test_the_order_of_rows_and_blocks_is_the_config_s() -> None:
    """The loops are one for the threads: the pixel and the channel of each turn differ."""
    scripts = [
        cases.applied(packed, {**CONFIG, "order": order}, *cases.convolution(48)).mod.script()
        for order in ("channels", "rows")
    ]
    # Five pairs of rows, six blocks of channels, and the innermost of them in the remainder.
    assert "% 5" in scripts[0]
    assert "% 6" not in scripts[0]
    assert "% 6" in scripts[1]
    assert "% 5" not in scripts[1]


@inside("relax")
def test_padded_rows_are_made_by_the_thread_that_reads_them() -> None:
    config = {**CONFIG, "order": "rows", "pad": "row"}
    made = cases.applied(packed, config, *cases.convolution(channels=48))
    # Threads take pairs of rows; blocks of channels and columns are inside.
    assert loops(made, "packed_sum_local")[:3] == [(PARALLEL, 5), (SERIAL, 6), (SERIAL, 4)]
    found = loops(made, "padded")
    assert found[0] == (PARALLEL, 5)
    assert (SERIAL, 4) in found, "2 rows of a tile and one on each side"
    assert found[-1] == (VECTORIZED, 8)


@inside("relax")
def test_a_reader_of_another_shape_runs_over_the_finished_sums() -> None:
    made = cases.applied(packed, CONFIG, *cases.convolution(channels=37))
    assert names(made)[-2:] == ["packed_sum_local", "crop"]
    assert loops(made, "crop") == [(PARALLEL, 10 * 12), (SERIAL, 1), (VECTORIZED, 37)]
    assert loops(made, "packed_sum_local")[0] == (PARALLEL, 5 * 5)


@inside("relax")
def test_a_schedule_for_one_thread_has_no_parallel_loop() -> None:
    for order, pad in (("channels", "ahead"), ("rows", "row")):
        config = {**CONFIG, "order": order, "pad": pad, "parallel": False}
        made = cases.applied(packed, config, *cases.convolution(channels=37))
        assert PARALLEL not in {kind for name in names(made) for kind, _ in loops(made, name)}


@inside("relax")
def test_what_is_broadcast_is_computed_once() -> None:
    made = cases.schedule(*cases.scale())
    packed.apply(made, {**configs(cases.scale())[0], "parallel": True})
    assert [extent for _, extent in loops(made, "gate")][-1] == 8
    assert "scaled" in names(made)
    assert loops(made, "scaled")[0][0] == PARALLEL
