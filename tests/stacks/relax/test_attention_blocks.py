"""How many queries are computed together, and where scores are written to memory."""

from __future__ import annotations

import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    from tvmkd.stacks.relax.attention_blocks import block_for, vector
    from tvmkd.stacks.relax.templates.cpu import Cpu

    AVX2 = Cpu(l2=256 << 10)
    AVX512 = Cpu(lanes=16, registers=32, l2=1 << 20)


@pytest.mark.parametrize("rows", [49, 128, 197, 384, 1024])
@inside("relax")
def test_few_rows_are_computed_too_much(rows: int) -> None:
    for cpu in (AVX2, AVX512):
        block = block_for(rows, rows, 64, 64, cpu)
        assert block is not None
        assert block % 8 == 0
        assert -(-rows // block) * block <= 1.15 * -(-rows // cpu.lanes) * cpu.lanes


@inside("relax")
def test_long_rows_of_few_queries_stay_apart() -> None:
    assert block_for(1, 197, 64, 64, AVX512) is None
    assert block_for(3, 197, 64, 64, AVX512) is None
    assert block_for(197, 4, 64, 64, AVX512) is None
    assert block_for(49, 49, 32, 32, AVX512) is not None
    # Masks that are computed for each query.
    assert block_for(197, 197, 64, 64, AVX512, gathered=1) is None
    assert block_for(256, 256, 64, 64, AVX512, gathered=1) is not None


@inside("relax")
def test_vectors_hold_neighbours() -> None:
    assert [vector(size, AVX512) for size in (64, 24, 20, 7)] == [16, 8, 4, 1]
    assert [vector(size, AVX2) for size in (64, 24, 20, 7)] == [8, 8, 4, 1]
