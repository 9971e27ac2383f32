"""The two transformations of a Winograd convolution."""

from __future__ import annotations

from typing import Any

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import template_cases as cases
    from template_cases import PARALLEL, SERIAL, UNROLLED, VECTORIZED, loops, names

    from tvmkd.stacks.relax.templates import winograd
    from tvmkd.stacks.relax.templates.cpu import Cpu


@pytest.mark.parametrize("tile", [4, 2])
@pytest.mark.parametrize("inward", [True, False])
@inside("relax")
def test_members_compute_what_the_kernel_does(inward: bool, tile: int) -> None:
    tensors = (cases.winograd_input if inward else cases.winograd_output)(tile=tile)
    cases.check_members(tensors, operator=not inward)  # the products read the patches


def configs(tensors: Any, threads: int = 2) -> list[dict[str, Any]]:
    return winograd.configs(cases.schedule(*tensors), Cpu(threads=threads))


@inside("relax")
def test_other_kernels_are_not_its_own() -> None:
    assert configs(cases.winograd_product()) == []
    assert configs(cases.convolution()) == []


@inside("relax")
def test_every_choice_with_threads_first() -> None:
    found = configs(cases.winograd_input(channels=48))
    assert [config["parallel"] for config in found] == [True] * 8 + [False] * 8
    assert {config["inward"] for config in found} == {True}
    assert [(config["pad"], config["order"], config["width"]) for config in found[:8]] == [
        (pad, order, width)
        for pad in ("ahead", "inline")
        for order in ("tiles", "channels")
        for width in (8, 16)
    ]
    found = configs(cases.winograd_output(channels=64), threads=1)
    assert {config["inward"] for config in found} == {False}
    assert [(config["pad"], config["order"], config["width"]) for config in found] == [
        ("none", order, width) for order in ("tiles", "channels") for width in (8, 16, 32)
    ]
    assert {config["parallel"] for config in found} == {False}


CONFIG = {"width": 8, "pad": "ahead", "order": "tiles", "parallel": True}


@inside("relax")
def test_a_patch_of_the_image_is_transformed_by_rows_and_then_by_columns() -> None:
    made = cases.applied(winograd, {**CONFIG, "inward": True}, *cases.winograd_input(40))
    pad, rows, last = names(made)
    tiles = (PARALLEL, 3 * 3 * 5)  # 10x12 in tiles of 4, five blocks of channels
    patch = [(UNROLLED, 6), (UNROLLED, 6), (VECTORIZED, 8)]
    assert loops(made, last) == [tiles, *patch]
    found = loops(made, rows)
    assert found[0] == tiles
    assert [loop for loop in found[1:] if loop[1] > 1] == patch
    assert loops(made, pad)[0][0] == PARALLEL
    assert loops(made, pad)[-1] == (VECTORIZED, 8)
    inlined = {**CONFIG, "inward": True, "pad": "inline"}
    assert names(cases.applied(winograd, inlined, *cases.winograd_input(40))) == [rows, last]


@inside("relax")
def test_products_become_a_tile_of_the_image() -> None:
    config = {**CONFIG, "inward": False, "pad": "none", "width": 16, "parallel": False}
    made = cases.applied(winograd, config, *cases.winograd_output(48))
    rows, last = names(made)
    tile = [(UNROLLED, 4), (UNROLLED, 4), (VECTORIZED, 16)]
    assert loops(made, last) == [(SERIAL, 1 * 3 * 3 * 3), *tile]
    found = [loop for loop in loops(made, rows)[1:] if loop[1] > 1]
    assert found == [(UNROLLED, 4), (UNROLLED, 6), (VECTORIZED, 16)]


@inside("relax")
def test_the_first_pass_stays_close() -> None:
    for inward, tensors in ((True, cases.winograd_input()), (False, cases.winograd_output())):
        made = cases.applied(winograd, {**CONFIG, "inward": inward}, *tensors)
        assert cases.scope(made, names(made)[-2]) == "local"


@inside("relax")
def test_the_order_of_tiles_and_blocks_is_the_config_s() -> None:
    """They are one loop for the threads: the innermost of them is in the remainder."""
    for inward, tensors in ((True, cases.winograd_input(56)), (False, cases.winograd_output(56))):
        config = {**CONFIG, "inward": inward, "pad": "inline"}
        tiles = cases.applied(winograd, config, *tensors).mod.script()
        channels = cases.applied(winograd, {**config, "order": "channels"}, *tensors).mod.script()
        assert "% 7" in tiles, "seven blocks of eight channels"
        assert "% 7" not in channels


@inside("relax")
def test_tiles_of_two_have_patches_of_four() -> None:
    inward = cases.applied(winograd, {**CONFIG, "inward": True}, *cases.winograd_input(40, 2))
    tiles, *patch = loops(inward, names(inward)[-1])
    assert tiles == (PARALLEL, 5 * 6 * 5)
    assert patch == [(UNROLLED, 4), (UNROLLED, 4), (VECTORIZED, 8)]
    config = {**CONFIG, "inward": False, "pad": "none"}
    outward = cases.applied(winograd, config, *cases.winograd_output(40, 2))
    assert loops(outward, names(outward)[-1])[-3:-1] == [(UNROLLED, 2), (UNROLLED, 2)]


@inside("relax")
def test_short_registers_take_four_channels_first() -> None:
    found = winograd.configs(cases.schedule(*cases.winograd_input(20)), Cpu(lanes=4))
    assert {config["width"] for config in found} == {4}
    found = winograd.configs(cases.schedule(*cases.winograd_output(48)), Cpu(lanes=4))
    assert [config["width"] for config in found[:3]] == [4, 8, 16]
