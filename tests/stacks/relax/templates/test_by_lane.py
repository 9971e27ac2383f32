"""Register tiles of cores that multiply by a lane."""

from __future__ import annotations

from typing import Any

import pytest
from in_tvm import INSIDE, inside

from tvmkd import targets

if INSIDE:
    import template_cases as cases
    from template_cases import SERIAL, UNROLLED, VECTORIZED, loops, names

    from tvmkd.stacks.relax.templates import by_lane, packed
    from tvmkd.stacks.relax.templates.cpu import Cpu

    NANO = Cpu.of(targets.load("jetson-nano").to_dict())

KERNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "convolution": ("convolution", {"channels": 48}),
    "strided": ("convolution", {"strides": (2, 1), "pads": (0, 1, 1, 1)}),
    "image": ("convolution", {"inner": 3, "strides": (2, 2), "pads": (0, 0, 1, 1)}),
    "wide window of an image": ("convolution", {"inner": 1, "size": (9, 8)}),
    "channels in pairs": ("convolution", {"inner": 6, "channels": 24}),
    "an odd number of steps": ("convolution", {"inner": 12}),
    "13 columns": ("convolution", {"size": (4, 15), "pads": (0, 0, 0, 0)}),
    "dense of 13 rows": ("dense", {"rows": 13, "channels": 24}),
    "scale of channels": ("scale", {}),
    "winograd product": ("winograd_product", {}),
}


@pytest.mark.parametrize("kernel", KERNELS)
@inside("relax")
def test_members_compute_what_the_kernel_does(kernel: str) -> None:
    make, options = KERNELS[kernel]
    cases.check_members(getattr(cases, make)(**options), cpu=NANO)


def configs(tensors: Any) -> list[dict[str, Any]]:
    return packed.configs(cases.schedule(*tensors), NANO)


@inside("relax")
def test_what_waits_fits_into_the_registers() -> None:
    found = configs(cases.convolution(channels=48, size=(10, 12)))
    together = [config for config in found if config.get(by_lane.TOGETHER)]
    assert {config[by_lane.TOGETHER] for config in together} == {4}
    for config in found:
        occupied = 2 * (config["sums"] + config["blocks"])
        if config not in together:
            assert occupied + 2 <= 32
        elif config["blocks"] == 1:
            assert occupied + 2 * 3 < 32, "the weights of three more steps"
        else:
            assert occupied + config["rows"] * config["columns"] < 32, "inputs of each pixel"
    sizes = {(c["rows"], c["columns"], c["blocks"]) for c in together}
    assert (2, 4, 1) in sizes
    assert (1, 6, 2) not in sizes
    best = min(found, key=packed.cycles)
    assert best["sums"] >= 8
    assert best[by_lane.TOGETHER] == 4


@inside("relax")
def test_fewer_instructions_come_first_where_multiply_adds_are_equal() -> None:
    found = configs(cases.convolution(channels=48, size=(10, 12)))
    tiles = {
        (c["columns"], c["blocks"], c.get(by_lane.TOGETHER, 1)): c["cycles"]
        for c in found
        if c["rows"] == 1
    }
    assert 2 < tiles[4, 2, 4] < tiles[4, 2, 1] < tiles[4, 1, 1]
    assert tiles[4, 1, 4] > tiles[6, 1, 4], "more pixels share the weights"


@inside("relax")
def test_without_four_channels_two_are_loaded_together_or_one_alone() -> None:
    for inner, wanted in ((6, {2, None}), (5, {None}), (8, {4, None})):
        found = configs(cases.convolution(inner=inner))
        assert {c.get(by_lane.TOGETHER) for c in found} == wanted, inner
    image, weight, out = cases.convolution(inner=24)
    assert not any(
        c.get(by_lane.TOGETHER)
        for c in packed.configs(cases.schedule(image, weight, out), Cpu(lanes=4, registers=32))
    )


@inside("relax")
def test_rows_of_windows_are_loaded_as_a_whole_where_they_fit() -> None:
    found = configs(cases.convolution(inner=3, channels=32, strides=(2, 2), pads=(0, 0, 1, 1)))
    whole = [config for config in found if config.get(by_lane.RUN)]
    runs = {c["columns"]: c[by_lane.RUN] for c in whole}
    assert runs == {columns: (2 * columns + 1) * 3 for columns in (1, 2, 3, 6)}
    for config in whole:
        vectors = config["rows"] * -(-config[by_lane.RUN] // 4)
        assert 2 * (config["sums"] + config["blocks"]) + vectors <= 32
    assert min(found, key=packed.cycles) in whole
    for options in ({"inner": 11}, {"inner": 3, "lanes": 16}):
        more = configs(cases.convolution(**{"strides": (2, 2), **options}))
        assert all(c.get(by_lane.RUN, 0) <= 32 * 4 for c in more), options
    assert not any(c.get(by_lane.RUN) for c in configs(cases.convolution(inner=11)))


CONFIG = {
    "rows": 1, "columns": 4, "blocks": 1, "order": "channels", "pad": "ahead", "parallel": False,
    "together": 4, "turns": 2, "lanes": 8,
}  # fmt: skip


@inside("relax")
def test_inputs_are_loaded_for_a_pixel_or_for_the_tile() -> None:
    made = cases.applied(packed, CONFIG, *cases.convolution(channels=48))
    assert names(made)[:2] == ["padded", "packed_sum_init"]
    tail = [(kind, size) for kind, size in loops(made, "packed_sum_update") if size > 1][-6:]
    assert tail[:3] == [(SERIAL, 3), (SERIAL, 3), (UNROLLED, 2)], "two turns of four steps"
    assert tail[3:] == [(UNROLLED, 4), (UNROLLED, 4), (VECTORIZED, 8)]
    copied = loops(made, "padded_global")
    assert copied[-1] == (VECTORIZED, 4)
    assert [size for _, size in copied[-4:]] == [1, 1, 1, 4], "of a pixel"
    made = cases.applied(packed, {**CONFIG, "blocks": 2}, *cases.convolution(channels=48))
    copied = loops(made, "padded_global")
    assert [size for _, size in copied[-4:]] == [1, 1, 4, 4], "of the tile"


@inside("relax")
def test_a_row_of_windows_is_one_vector() -> None:
    config = {**CONFIG, "together": 1, "turns": 1, "run": 18}
    made = cases.applied(packed, config, *cases.convolution(inner=3))
    copied = [loop for loop in loops(made, "padded_global") if loop[1] > 1]
    assert copied[-1] == (VECTORIZED, 18), "six columns of three channels"
    tail = [loop for loop in loops(made, "packed_sum_update") if loop[1] > 1]
    assert tail[-4:] == [(SERIAL, 3), (UNROLLED, 9), (UNROLLED, 4), (VECTORIZED, 8)]
