from __future__ import annotations

import copy
from math import prod
from typing import Any

import numpy as np
import pytest

from tvmkd.stacks.relay.register_tiles import REGISTERS, odd_vectors, retiled

SIZES = (1, 56, 56, 64)


def line(*sizes: int, reductions: tuple[int, ...] = (3, 3, 64), vector_bytes: int = 32) -> Any:
    """A convolution in AutoScheduler's log: four spatial axes in three splits, three reductions."""
    steps: list[list[Any]] = [["CI", 5]]
    steps += [["SP", 3, 4 * n, size, [1, 1, 1], 1] for n, size in enumerate(sizes)]
    steps += [["SP", 3, 16 + 2 * n, size, [1], 1] for n, size in enumerate(reductions)]
    steps += [["AN", 3, 21, 2], ["PR", 3, 0, "auto_unroll_max_step$0"]]
    hardware = [2, vector_bytes, 64, 0, 0, 0, 0, 0]
    return {"i": [["key", "llvm", hardware, "", 2, []], [[], steps]], "r": [[1.0], 0], "v": "v0.6"}


def splits(found: Any, levels: int) -> list[list[int]]:
    return [s[4] for s in found["i"][1][1] if s[0] == "SP" and len(s[4]) == levels]


@pytest.mark.parametrize("sizes", [SIZES, (1, 14, 14, 96), (1, 8, 8, 512), (1, 112, 112, 16)])
def test_the_innermost_tile_fills_the_registers(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        before = line(*sizes)
        found = retiled(copy.deepcopy(before), rng)
        inner = [lengths[-1] for lengths in splits(found, 3)]
        assert inner[-1] % 8 == 0
        vectors = prod(inner[:-1]) * inner[-1] // 8
        assert REGISTERS[0] <= vectors <= REGISTERS[1], (sizes, inner)
        for size, lengths in zip(sizes, splits(found, 3), strict=True):
            assert size % prod(lengths) == 0
        for size, (length,) in zip((3, 3, 64), splits(found, 1), strict=True):
            assert size % length == 0


def test_what_cannot_fill_them_does_not_spill_them() -> None:
    for seed in range(50):
        found = retiled(line(1, 7, 7, 512), np.random.default_rng(seed))
        *rows, columns = (lengths[-1] for lengths in splits(found, 3))
        assert prod(rows) * columns // 8 <= REGISTERS[1]


def test_an_axis_that_no_vector_divides_still_gets_a_tile() -> None:
    found = retiled(line(1, 13, 11, 58), np.random.default_rng(0))
    assert 58 % splits(found, 3)[-1][-1] == 0


def test_the_line_itself_stays_and_the_same_seed_gives_the_same() -> None:
    before = line(*SIZES)
    kept = copy.deepcopy(before)
    one = retiled(before, np.random.default_rng(1))
    assert before == kept
    assert one == retiled(before, np.random.default_rng(1))
    assert one != retiled(before, np.random.default_rng(2))


@pytest.mark.parametrize(
    ("extent", "inner", "odd"),
    [(72, 2, True), (40, 5, True), (64, 1, False), (64, 4, False), (64, 16, False), (58, 2, False)],
)
def test_vectors_of_two_or_five_are_odd(extent: int, inner: int, odd: bool) -> None:
    found = line(1, 14, 14, extent)
    found["i"][1][1][4][4][-1] = inner
    assert odd_vectors(found) is odd
    found["i"][1][1] = []
    assert odd_vectors(found) is False


def test_what_has_no_tiles_gets_none() -> None:
    untiled = line(*SIZES)
    untiled["i"][1][1] = [["FU", 3, [0, 1]], ["AN", 3, 0, 3]]
    assert retiled(untiled, np.random.default_rng(0)) is None
