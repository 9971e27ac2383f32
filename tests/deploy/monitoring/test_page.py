from __future__ import annotations

from dataclasses import replace

import pages
import pytest
from fleets import NANO, STUDENT, VIEW

from tvmkd.deploy.monitoring import page
from tvmkd.deploy.monitoring.history import History
from tvmkd.deploy.monitoring.view import View
from tvmkd.report.charts import NARROW, WIDE


def rendered(view: View, looks: int = 3) -> pages.Page:
    history = History()
    for second in range(looks):
        history.add(replace(view, at=view.at + second))
    return pages.read(page.render(view, history, 2.0))


def test_a_fleet_with_faults() -> None:
    read = rendered(VIEW)
    assert read.headings == ["2 down", "Boards", "Models", "Temperature", "p99"]
    assert "me@gone: down, No route to host" in read.text
    assert "http://10.0.0.8:8000: down, Connection refused" in read.text
    assert read.classes["bad"] >= 5
    assert read.addresses == []


def test_a_fleet_that_is_well() -> None:
    calm = replace(NANO, state=replace(NANO.state, throttled_by=()))  # type: ignore[type-var]
    read = rendered(View(VIEW.at, (calm,), (replace(STUDENT, new_misses=0),)))
    assert read.headings[0] == "1 boards and 1 models are well"
    assert read.classes["bad"] == 0


def test_the_browser_asks_again() -> None:
    text = page.render(VIEW, History(), 2.0)
    assert '<meta http-equiv="refresh" content="2">' in text
    assert 'content="1"' in page.render(VIEW, History(), 0.2)


def test_an_empty_fleet_and_a_model_that_is_not_ready() -> None:
    assert rendered(View(0.0, (), ())).headings == ["No board and no model"]
    read = rendered(View(0.0, (), (replace(STUDENT, ready=False),)), looks=1)
    assert read.headings == ["1 models not ready", "Models"]


def test_names_from_servers_are_escaped() -> None:
    text = page.render(View(0.0, (), (replace(STUDENT, model="<script>"),)), History(), 2.0)
    assert "<script>" not in text


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_chart_of_lines(width: int) -> None:
    lines = {"a": [(0.0, 5.0), (10.0, 6.0)], "b <": [(0.0, 0.0), (10.0, 0.0)]}
    svg = str(page.chart("p99", lines, "ms", width).render())
    assert "a: 6 ms; b &lt;: 0 ms" in svg
    assert svg.count("<path") == 2
