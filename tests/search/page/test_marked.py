from __future__ import annotations

import studies
from studies import point

from tvmkd.search.page import marked


def test_every_kind_of_point_is_found() -> None:
    points = [
        point(0, 0.90, measured=1.0, macs=30),
        point(1, 0.95, measured=3.0, macs=60),
        point(2, 0.94, measured=3.5, macs=20),
        point(3, 0.97, predicted=4.1, low=3.9, high=4.3, macs=90),
        point(4, state="failed"),
    ]
    known = marked.find(studies.study(points, budget=4.0, winner=1))
    assert [each.number for each in known.front] == [0, 1, 3]
    assert [each.number for each in known.by_macs] == [2, 1, 3]
    assert (known.winner, known.macs_pick) == (points[1], points[1])
    words = [known.word(each) for each in points]
    assert words == ["front", "winner", "", "to be measured", ""]


def test_a_study_without_networks_has_none() -> None:
    known = marked.find(studies.study([point(0, state="failed")], winner=None))
    assert known == marked.Marked([], [], None, None, [])
