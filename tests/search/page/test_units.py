from __future__ import annotations

import pytest
import studies
from studies import point

from tvmkd.search import front
from tvmkd.search.page import units


def test_fast_networks_are_shown_in_microseconds() -> None:
    points = [
        point(0, 0.9, predicted=0.011, low=0.01, high=0.012, measured=0.0115),
        point(1, 0.8, state="pruned", predicted=3.0),
        point(2, state="failed"),
    ]
    made = studies.study(points, budget=0.025, reference=(0.5, 0.03), baselines=[points[0]])
    shown = units.readable(made)
    assert (shown.unit, shown.budget) == ("µs", 25.0)
    assert shown.points[0].latency == pytest.approx(11.5)
    assert (shown.points[0].low, shown.points[1].predicted) == (10.0, 3000.0)
    assert shown.baselines[0] == shown.points[0]
    volume = front.volume(made)
    assert volume is not None
    assert front.volume(shown) == pytest.approx(1e3 * volume)


def test_others_stay_as_they_are() -> None:
    fast = point(0, 0.9, measured=0.01)
    for made in (
        studies.study([fast], budget=5.0),
        studies.study([fast, point(1, 0.9, measured=0.3)]),
        studies.study([fast], unit="M instructions"),
        studies.study([]),
    ):
        assert units.readable(made) is made
