from __future__ import annotations

import re

import pytest
from streams import laddered, result

from tvmkd.deploy.streaming import charts
from tvmkd.report.charts import NARROW, WIDE

BOTH = pytest.mark.parametrize("width", [WIDE, NARROW])


def inside(svg: str, width: int) -> bool:
    """Whether every rectangle and line lies within the width."""
    found = [float(x) for x in re.findall(r' x[12]?="(-?[\d.]+)"', svg)]
    return all(-1 <= x <= width + 1 for x in found)


@BOTH
def test_late_parts_and_drops_are_marked(width: int) -> None:
    made = laddered()
    svg = str(charts.over_time(made, width).render())
    assert svg.count('class="late"') == sum((m.worst or 0) > 20 for m in made.timeline) > 0
    assert svg.count('class="dropped"') == 1
    assert "1 frames dropped" in svg
    assert "deadline 20 ms" in svg
    assert "model 1" in svg
    assert inside(svg, width)


@BOTH
def test_a_stream_of_one_frame(width: int) -> None:
    one = result([5.0])
    assert "median 5 ms" in str(charts.over_time(one, width).render())
    assert "model: median 2.5 ms" in str(charts.histograms(one, width).render())


@BOTH
def test_each_bin_with_frames_is_a_bar(width: int) -> None:
    made = result([5.0, 7.0, 300.0, 5.0])
    svg = str(charts.histograms(made, width).render())
    shown = [stage for stage in made.stages if stage.ms.worst > 0]
    assert svg.count('class="fill-first"') == sum(sum(map(bool, each.counts)) for each in shown)
    assert inside(svg, width)


@BOTH
def test_temperature_clock_and_throttling(width: int) -> None:
    svg = str(charts.heat(laddered(), width).render())
    assert "60 to 72 °C, 900 to 900 MHz" in svg
    assert svg.count('class="dropped"') == 1
    assert 'class="curve"' in svg
    assert 'class="frontier"' in svg


def test_clocks_without_a_temperature() -> None:
    made = laddered()
    states = [state.model_copy(update={"celsius": None}) for state in made.states]
    svg = str(charts.heat(made.model_copy(update={"states": states}), WIDE).render())
    assert "MHz" in svg
    assert 'class="curve"' not in svg
