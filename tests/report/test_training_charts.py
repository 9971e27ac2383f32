from __future__ import annotations

import re
from pathlib import Path

import trainings

from tvmkd.report import training_charts as charts
from tvmkd.report.charts import NARROW, WIDE


def test_trainings_of_one_kind_have_one_colour(tmp_path: Path) -> None:
    known = [
        trainings.training(tmp_path, "a", "teacher"),
        trainings.training(tmp_path, "b", "student (seed 0)"),
        trainings.training(tmp_path, "c", "student (seed 1)"),
    ]
    assert charts.colours(known) == {"teacher": 0, "student": 1}
    assert [line.colour for line in charts.lines(known, lambda entry: entry.loss)] == [0, 1, 1]


def test_values_that_are_not_known_or_not_finite_are_left_out(tmp_path: Path) -> None:
    known = [trainings.training(tmp_path)]
    found = charts.lines(known, lambda entry: float("inf") if entry.epoch == 2 else entry.score)
    assert [at for at, _ in found[0].points] == [4, 6, 8, 10]
    assert charts.lines(known, lambda entry: None) == []


def test_a_line_has_few_points_and_its_ends() -> None:
    points = [(float(at), 0.0) for at in range(1000)]
    found = charts.thinned(points, 80)
    assert len(found) == 80
    assert (found[0], found[-1]) == (points[0], points[-1])
    assert charts.thinned(points[:80], 80) == points[:80]


def test_every_value_is_inside_the_plot() -> None:
    for values in ([1.0], [0.0, 0.0], [1e-6, 1e3], [-5.0, 5.0], [0.99, 1.0]):
        line = charts.Line("a", 0, [(at + 1.0, value) for at, value in enumerate(values)])
        for percent in (False, True):
            canvas = charts.curves([line], "title", NARROW, percent=percent)
            drawn = str(canvas.render())
            heights = [float(each) for each in re.findall(r'cy="([\d.-]+)"', drawn)]
            assert len(heights) == len(values)
            assert all(30 <= each <= 190 for each in heights), values


def test_wide_ranges_are_logarithmic_unless_asked() -> None:
    line = charts.Line("a", 0, [(1.0, 0.01), (2.0, 10.0)])
    assert "logarithmic" in charts.curves([line], "t", WIDE).render()
    assert "logarithmic" not in charts.curves([line], "t", WIDE, linear=True).render()


def test_bars_are_the_shares() -> None:
    rows = [("a", [("data", 1.0), ("step", 3.0)])]
    drawn = str(charts.where_time_goes(rows, ["data", "step"], WIDE).render())
    widths = [float(each) + 1 for each in re.findall(r' width="([\d.]+)"', drawn)]
    assert abs(widths[1] / widths[0] - 3) < 0.05
    assert "step 75%, 3 s" in drawn
    assert "4 s" in drawn


def test_durations_are_read_by_people() -> None:
    assert [charts.seconds(each) for each in (0.5, 90, 600, 7200)] == [
        "0.5 s",
        "90 s",
        "10.0 min",
        "2.0 h",
    ]
