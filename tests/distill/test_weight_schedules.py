from __future__ import annotations

import pytest

from tvmkd.distill.weight_schedules import SCHEDULES, constant, decay, ramp


def test_where_they_begin_and_end() -> None:
    assert [constant(p) for p in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]
    assert [decay(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5, 0.0])
    assert [ramp(p) for p in (0.0, 0.1, 0.2, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 1.0])


@pytest.mark.parametrize("name", SCHEDULES)
def test_they_stay_between_nothing_and_all(name: str) -> None:
    values = [SCHEDULES[name](step / 50) for step in range(-5, 56)]
    assert all(0.0 <= value <= 1.0 for value in values)
