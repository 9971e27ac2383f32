"""When a convolution is computed by Winograd's algorithm, and with which tiles."""

from __future__ import annotations

from typing import Any

from in_tvm import INSIDE, inside

from tvmkd import targets

if INSIDE:
    from tvmkd.stacks.relax import winograd_cost
    from tvmkd.stacks.relax.templates.cpu import Cpu

    AVX2 = Cpu()
    NANO = Cpu.of(targets.load("jetson-nano").to_dict())

# What pays by the rule, and the one change that makes it not pay.
GOOD: dict[str, Any] = {
    "weight": [32, 32, 3, 3], "out": [13, 13], "strides": [1, 1], "dilation": [1, 1], "groups": 1,
}  # fmt: skip
NEVER: list[dict[str, Any]] = [
    {"groups": 2},
    {"weight": [32, 32, 3, 1]},
    {"weight": [32, 32, 1, 3]},
    {"weight": [32, 32, 5, 5]},
    {"strides": [2, 1]},
    {"strides": [1, 2]},
    {"dilation": [1, 2]},
    {"strides": [2, 2], "dilation": [2, 2]},
    {"weight": [36, 32, 3, 3]},  # no whole blocks of 8 outputs
]
RULE: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"weight": [40, 32, 3, 3]}, True),
    ({"weight": [24, 32, 3, 3]}, False),
    ({"weight": [32, 31, 3, 3]}, False),
    ({"weight": [32, 33, 3, 3]}, True),
    ({"out": [12, 16]}, False),  # 3 x 4 tiles
    ({"out": [13, 16]}, True),  # 4 x 4
    ({"out": [16, 12]}, False),
    ({"out": [5, 29]}, True),  # 2 x 8
    ({"out": [4, 64]}, True),  # 1 x 16
    ({"out": [4, 60]}, False),
]


@inside("relax")
def test_where_the_rule_says_that_it_pays() -> None:
    for change, pays in RULE:
        found = winograd_cost.tile_for(**{**GOOD, **change}, cpu=AVX2)
        assert found == (4 if pays else None), change


@inside("relax")
def test_what_it_cannot_compute() -> None:
    for cpu in (AVX2, NANO):
        assert winograd_cost.tile_for(**GOOD, cpu=cpu) == 4
        for change in NEVER:
            assert winograd_cost.tile_for(**{**GOOD, **change}, cpu=cpu) is None, change
    odd = {**GOOD, "weight": [32, 30, 3, 3], "out": [56, 56]}
    assert winograd_cost.tile_for(**odd, cpu=NANO) is None, "no whole registers of inputs"


def tile(channels: int, inner: int, size: int, cpu: Any, images: int = 1) -> int | None:
    """The tile of a 3x3 convolution of square images with ``size`` pixels."""
    given = {**GOOD, "weight": [channels, inner, 3, 3], "out": [size, size]}
    return winograd_cost.tile_for(**given, cpu=cpu, images=images)


@inside("relax")
def test_fewer_multiplications_are_weighed_against_memory() -> None:
    assert tile(64, 16, 56, NANO) == 4, "sixteen channels are enough for a large image"
    assert tile(16, 4, 56, NANO) is None, "both transformations cost more than the sums"
    assert tile(512, 512, 7, NANO) == 2, "four tiles of 4 x 4 would read 36 weights for 9"
    assert tile(512, 512, 7, NANO, images=8) == 4, "more images share the weights"
    assert tile(512, 512, 2, NANO) is None, "one tile"


@inside("relax")
def test_dear_memory_asks_for_smaller_tiles_and_then_for_none() -> None:
    costs = (5.0, 25.0, 40.0, 60.0)
    cpus = [Cpu(lanes=4, registers=32, fma=1, by_lane=True, line=line) for line in costs]
    assert [tile(512, 512, 7, cpu) for cpu in cpus] == [4, 2, 2, None]
