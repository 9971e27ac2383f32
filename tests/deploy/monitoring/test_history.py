from __future__ import annotations

from dataclasses import replace

from fleets import STUDENT, VIEW

from tvmkd.deploy.monitoring.history import MINUTES, MOST, History
from tvmkd.deploy.monitoring.view import View


def test_temperatures_and_p99_over_time() -> None:
    history = History()
    for second in (0.0, 1.0):
        history.add(replace(VIEW, at=second))
    assert history.celsius() == {"10.0.0.7:9090": [(0.0, 71.4), (1.0, 71.4)]}
    assert history.p99() == {"student 2 at http://10.0.0.7:8000": [(0.0, 8.46), (1.0, 8.46)]}


def test_a_first_reading_tells_of_another_time() -> None:
    history = History()
    history.add(View(0.0, (), (replace(STUDENT, per_second=None),)))
    assert history.p99() == {}


def test_what_is_old_is_forgotten() -> None:
    history = History()
    for second in range(0, 61 * MINUTES, 30):
        history.add(replace(VIEW, at=float(second)))
    (line,) = history.celsius().values()
    assert line[-1][0] - line[0][0] <= 60 * MINUTES
    history.add(View(line[-1][0] + 60 * MINUTES + 1, (), ()))
    assert history.celsius() == history.p99() == {}


def test_a_line_has_a_limit() -> None:
    history = History()
    for number in range(MOST + 100):
        history.add(replace(VIEW, at=number / 1000))
    assert [len(line) for line in history.celsius().values()] == [MOST]
