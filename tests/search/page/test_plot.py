from __future__ import annotations

import re

import pages
import studies
from studies import point

from tvmkd.search.page import marked, plot
from tvmkd.search.results import Study


def drawn(study: Study) -> str:
    return str(plot.draw(study, marked.find(study)))


def dots(text: str) -> list[tuple[str, float, float]]:
    """(classes, left, top) of each dot of the wide drawing."""
    wide = text.partition('class="plot narrow"')[0]
    found = re.findall(
        r'class="dot ([^"]*)" href="[^"]*" style="left:([\d.]+)%;top:([\d.]+)%', wide
    )
    return [(css, float(left), float(top)) for css, left, top in found]


POINTS = [
    point(0, 0.90, measured=1.0, macs=30, structure={"width": 0.25}),
    point(1, 0.95, predicted=3.0, low=2.9, high=3.1, macs=60),
    point(2, 0.92, measured=3.5, macs=20),
    point(3, 0.9, state="pruned", predicted=2.0),
]


def test_faster_is_left_and_better_is_up() -> None:
    made = studies.study(POINTS, winner=1, budget=4.0, teacher={"accuracy": 0.96})
    text = drawn(made)
    (first, second, third) = dots(text)
    assert first[1] < second[1] < third[1]
    assert second[2] < third[2] < first[2]
    assert first[0].split()[:1] == ["front"]
    assert second[0].split()[:2] == ["winner", "predicted"]
    assert third[0].split()[:1] == ["other"]
    read = pages.read(text)
    assert read.classes["plot"] == 2
    for css, count in (
        ("steps", 2),
        ("by-macs", 2),
        ("budget", 2),
        ("teacher", 2),
        ("interval", 2),
    ):
        assert read.classes[css] == count, css
    assert "winner 95.0%" in read.text
    assert "width 0.25" in read.text
    assert read.addresses[:3] == ["#trial-0", "#trial-1", "#trial-2"]


def test_only_marked_points_are_stops_of_the_tab_key() -> None:
    text = drawn(studies.study(POINTS, winner=1))
    stops = re.findall(r'href="(#trial-\d)"[^>]*?(tabindex="-1")?>', text)[:3]
    assert [bool(skipped) for _, skipped in stops] == [False, False, True]


def test_the_front_is_drawn_as_steps() -> None:
    text = drawn(studies.study(POINTS[:2]))
    found = re.search(r'<path d="M([\d. L]+)" class="steps"', text)
    assert found is not None
    corners = [tuple(map(float, part.split())) for part in found[1].split("L")]
    assert len(corners) == 4
    assert corners[0][1] == corners[1][1], "first along the latency, then up"
    assert corners[1][0] == corners[2][0]


def test_a_budget_or_a_teacher_far_away_does_not_squeeze_the_points() -> None:
    near = dots(drawn(studies.study(POINTS)))
    far = drawn(studies.study(POINTS, budget=400.0, teacher={"accuracy": 0.2}))
    assert dots(far) == near
    assert "budget 400 ms →" in far
    assert 'class="teacher"' not in far
    assert "← budget 0.01 ms" in drawn(studies.study(POINTS[1:3], budget=0.01))


def test_a_very_bad_network_is_held_at_the_edge() -> None:
    points = [point(i, 0.9 + i / 500, measured=1.0 + i) for i in range(20)]
    bad = point(99, 0.1, measured=2.5)
    found = dots(drawn(studies.study([*points, bad])))
    outside = [dot for dot in found if "outside" in dot[0].split()]
    assert len(outside) == 1
    assert outside[0][2] == max(top for _, _, top in found)


def test_baselines_are_drawn_without_any_network() -> None:
    made = studies.study([], baselines=[point(0, 0.9, measured=1.0, structure={"name": "s<m>all"})])
    text = drawn(made)
    assert "by hand: s&lt;m&gt;all" in text
    assert '#by-hand-0"' in text
    assert drawn(studies.study([point(0, state="failed")])) == ""


def test_many_points_show_the_intervals_of_the_front_only() -> None:
    many = [
        point(i, 0.5 + i / 1000, predicted=1.0 + i % 7, low=0.9 + i % 7, high=1.2 + i % 7)
        for i in range(plot.INTERVALS + 1)
    ]
    text = drawn(studies.study(many))
    front = sum("front" in css.split() for css, _, _ in dots(text))
    assert pages.read(text).classes["interval"] == 2 * front
