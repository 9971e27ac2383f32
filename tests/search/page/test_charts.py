from __future__ import annotations

import re

import pages
import studies
from studies import point

from tvmkd.report.svg import Scale
from tvmkd.search.page import charts


def test_the_best_so_far_meets_the_budget_and_rises() -> None:
    points = [
        point(0, 0.8, measured=1.0),
        point(1, 0.9, measured=9.0),
        point(2, 0.7, measured=1.0),
        point(3, 0.85, measured=2.0),
        point(4, 0.85, measured=1.0),
        point(5, 0.99, measured=1.0, state="pruned"),
    ]
    assert charts.best_so_far(studies.study(points, budget=5.0)) == [(0, 0.8), (3, 0.85)]
    falling = charts.best_so_far(studies.study(points, budget=5.0, maximize=False))
    assert falling == [(0, 0.8), (2, 0.7)]


def test_every_trial_is_in_the_progress() -> None:
    points = [
        point(0, 0.8, measured=1.0),
        point(1, 0.4, state="pruned", epochs=2),
        point(2, state="failed", error="<out of memory>"),
        point(3, state="infeasible"),
    ]
    drawn = str(charts.progress(studies.study(points), 940).render())
    assert "trial 2: &lt;out of memory&gt;" in drawn
    assert "trial 1, pruned after 2 epochs: 40.0%" in drawn
    read = pages.read(drawn)
    assert (read.tags["circle"], read.classes["late"], read.classes["curve"]) == (2, 1, 1)
    assert charts.has_scores(points)
    assert not charts.has_scores(points[:1])
    assert not charts.has_scores(points[2:])
    assert "svg" in charts.progress(studies.study(points[1:]), 330).render()


def test_measured_networks_are_drawn_against_their_predictions() -> None:
    points = [
        point(0, predicted=1.0, measured=1.2),
        point(1, predicted=2.0, measured=2.0),
        point(2, predicted=2.0),
    ]
    made = studies.study(points, baselines=[point(0, predicted=30.0, measured=10.0)])
    for canvas in (charts.predictions(made), charts.errors(made)):
        drawn = str(canvas.render())
        read = pages.read(drawn)
        assert read.tags["circle"] == 3
        assert {"band5", "band10"} <= set(read.classes)
        assert "trial 0: 1.20 ms measured, 1.00 ms predicted, +20.0%" in drawn
    heights = [float(y) for y in re.findall(r'circle cx="[\d.]+" cy="([\d.]+)"', drawn)]
    assert heights[0] < heights[1] < heights[2], "slower than predicted is above"


def test_the_band_is_a_share_of_the_measured_time() -> None:
    for x in (Scale(1, 100, 0, 300, log=True), Scale(1, 100, 0, 300)):
        values: list[tuple[float, float]] = []
        y = Scale(x.low, x.high, 300, 0, x.log)
        band = charts._band(x, y, 0.1)
        middle = len(band) // 4
        values = [band[middle], band[-1 - middle]]
        assert values[0][0] == values[1][0]
        at = values[0][0] / 300
        predicted = x.low * (x.high / x.low) ** at if x.log else 1 + 99 * at
        expected = [y(predicted / 0.9), y(predicted / 1.1)]
        assert [height for _, height in values] == expected
