from __future__ import annotations

import pytest

from tvmkd.deploy.serving.estimate import ServiceTime


def test_nothing_is_known_at_first() -> None:
    assert ServiceTime().high == 0
    assert ServiceTime(1000).high == 1500


def test_it_converges_to_a_constant_time() -> None:
    found = ServiceTime(5000)
    for _ in range(200):
        found.add(1000)
    assert found.mean == pytest.approx(1000, rel=0.01)
    assert found.high == pytest.approx(1000, rel=0.05)


def test_a_slower_machine_is_believed_sooner_than_a_faster_one() -> None:
    slower, faster = ServiceTime(1000), ServiceTime(2000)
    for _ in range(3):
        slower.add(2000)
        faster.add(1000)
    assert slower.mean - 1000 > 3 * (2000 - faster.mean)


@pytest.mark.parametrize(
    ("ahead", "elapsed", "instances", "calls"),
    [(0, 0, 1, 2), (3, 0, 1, 5), (0, 1, 1, 1), (0, 9, 1, 1), (4, 0, 2, 4), (2, 1, 2, 2.5)],
)
def test_a_request_waits_for_those_before_it(
    ahead: int, elapsed: float, instances: int, calls: float
) -> None:
    found = ServiceTime()
    found.mean = 100.0
    assert found.finish(ahead, 100 * elapsed, instances) == 100 * calls
