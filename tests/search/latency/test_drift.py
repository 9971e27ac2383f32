from __future__ import annotations

import pytest

from tvmkd.search.latency.drift import REACH, Reading, factor, least, same, standard


def test_the_usual_time_is_that_of_a_quiet_machine() -> None:
    readings = [Reading(float(t), seconds, "nano:1") for t, seconds in enumerate([2, 1, 3, 9])]
    assert standard(readings, "nano:7") == 1
    assert standard(readings, "other:7") is None
    assert standard([], None) is None
    assert least(readings, "nano:7") == 1
    assert least([*readings, Reading(5.0, 0.5, "pi:1")], "nano:7") == 1
    assert least([], "nano:7") is None


def test_a_slow_spell_is_seen_where_it_was() -> None:
    readings = [Reading(t, 1.0, "a:1") for t in (0.0, 100.0, 200.0)]
    readings += [Reading(t, 1.5, "a:1") for t in (5000.0, 5100.0)]
    assert factor(readings, 50.0, "a:2") == pytest.approx(1.0)
    assert factor(readings, 5050.0, "a:2") == pytest.approx(1.5)
    assert factor(readings, 5050.0, "b:2") == 1.0
    # Nobody looked then.
    assert factor(readings, 5100.0 + 3 * REACH + 1, "a:2") == 1.0


def test_nearer_readings_count_more() -> None:
    readings = [Reading(0.0, 1.0), Reading(REACH, 2.0), Reading(9e9, 1.0)]
    near, far = factor(readings, 0.1 * REACH, None), factor(readings, 0.9 * REACH, None)
    assert 1.0 < near < 1.5 < far < 2.0


def test_ports_do_not_tell_boards_apart() -> None:
    assert same("nano:9090", "nano:9091")
    assert not same("nano:9090", "pi:9090")
    assert same(None, None)
