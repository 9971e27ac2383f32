from __future__ import annotations

import pytest

from tvmkd.runtime.occupancy import limits, occupancy


@pytest.mark.parametrize(
    ("capability", "threads", "registers", "shared", "wanted"),
    [
        # Reckoned by hand from the limits.
        (53, 256, 32, 0, 1.0),
        (53, 256, 64, 0, 0.5),
        (72, 128, 128, 0, 0.25),
        (87, 256, 32, 0, 1.0),
        (87, 1024, 32, 0, 32 / 48),  # one block: two are more warps than there are
        (87, 256, 255, 0, 8 / 48),
        (87, 128, 16, 40_000, 16 / 48),  # four blocks by their shared memory
        (90, 256, 168, 0, 8 / 64),
        (90, 384, 168, 100 * 1024, 12 / 64),
        (75, 32, 16, 0, 0.5),  # sixteen blocks are the most
        (87, 2048, 16, 0, 0.0),
        (87, 0, 16, 0, 0.0),
    ],
)
def test_the_tightest_limit_counts(
    capability: int, threads: int, registers: int, shared: int, wanted: float
) -> None:
    assert occupancy(capability, threads, registers, shared) == pytest.approx(wanted)


def test_a_gpu_that_is_not_in_the_table_is_taken_for_the_one_before() -> None:
    assert limits(88) == limits(87)
    assert limits(121) == limits(120)
    assert limits(30) == limits(50)
