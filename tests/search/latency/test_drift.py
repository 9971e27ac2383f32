from __future__ import annotations

import math

import pytest

from tvmkd.search.latency.drift import (
    REACH,
    Reading,
    Slowdown,
    factor,
    least,
    same,
    slowdown,
    standard,
)


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


def test_the_nearest_readings_decide_and_one_alone_does_not() -> None:
    readings = [Reading(0.0, 1.0), Reading(REACH, 2.0), Reading(9e9, 1.0)]
    assert factor(readings, 0.1 * REACH, None) == 1.0
    assert factor(readings, 0.9 * REACH, None) == 2.0
    spell = [Reading(float(t), 2.5 if t == 3 else 1.0) for t in range(6)]
    assert factor(spell, 3.0, None) == 1.0, "a spell of seconds says nothing of what came after it"


def test_what_lasts_is_taken_out_and_what_passes_by_half() -> None:
    warm = Slowdown(lasting=1.3, passing=1.02)
    assert not warm.disturbed
    assert warm.expected == warm.certain == pytest.approx(1.3 * 1.02)
    assert warm.doubt == pytest.approx(0.5 * math.log(1.02))
    hit = Slowdown(lasting=1.3, passing=4.0)
    assert hit.disturbed
    assert hit.expected == pytest.approx(1.3 * 2.0)
    assert hit.certain == 1.3, "a network on one core may not have noticed"
    # All that it may be is within one standard error.
    assert hit.expected * math.exp(hit.doubt) == pytest.approx(1.3 * 4.0)
    assert hit.expected * math.exp(-hit.doubt) == pytest.approx(1.3)
    assert Slowdown().doubt == 0


def test_a_slowdown_is_what_lasts_and_what_is_beside_it() -> None:
    readings = [Reading(float(t), 1.0, "a:1") for t in range(3)]
    assert slowdown(readings, 1.0, 2.5, "a:2") == Slowdown(1.0, 2.5)
    assert slowdown(readings, 1.0, 0.0, "a:2") == slowdown([], 1.0, 2.5, "a:2") == Slowdown()
    warm = [*readings, *(Reading(5000.0 + t, 1.5, "a:1") for t in range(2))]
    assert slowdown(warm, 5000.0, 3.0, "a:2") == Slowdown(1.5, 2.0)


def test_ports_do_not_tell_boards_apart() -> None:
    assert same("nano:9090", "nano:9091")
    assert not same("nano:9090", "pi:9090")
    assert same(None, None)
