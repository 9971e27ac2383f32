from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmkd.report.svg import Canvas, Scale, number


def test_a_canvas_is_well_formed_and_described() -> None:
    canvas = Canvas(100, 50, "A <title>", "b & c")
    canvas.text(1, 2, "<script>")
    canvas.rect(0, 0, 10, 5, "fill", 'tip "quoted"')
    canvas.path([(0, 0), (1, 1)], "curve", close=True)
    root = ET.fromstring(canvas.render())
    assert root.attrib["role"] == "img"
    ids = {child.attrib["id"] for child in root if "id" in child.attrib}
    assert set(root.attrib["aria-labelledby"].split()) == ids
    assert not root.findall(".//script")


def test_two_canvases_share_no_ids() -> None:
    first, second = (Canvas(1, 1, "t", "d").render() for _ in range(2))
    assert first != second


def test_scale_maps_ends_to_ends_and_holds_what_is_outside() -> None:
    scale = Scale(1, 100, 10, 30, log=True)
    assert (scale(1), scale(10), scale(100)) == (10, pytest.approx(20), 30)
    assert scale(1000) == 30


@given(st.floats(1e-3, 1e3), st.floats(1.01, 1e3), st.booleans())
def test_ticks_are_inside_and_in_order(low: float, factor: float, log: bool) -> None:
    scale = Scale(low, low * factor, 0, 100, log)
    ticks = scale.ticks(5)
    assert ticks == sorted(set(ticks))
    assert all(low * (1 - 1e-6) <= tick <= low * factor * (1 + 1e-6) for tick in ticks)
    assert len(ticks) <= 13


def test_ticks_are_round() -> None:
    assert Scale(0, 23, 0, 1).ticks(5) == [0, 5, 10, 15, 20]
    assert Scale(0.8, 30, 0, 1, log=True).ticks(6) == [1, 2, 5, 10, 20]


def test_numbers_have_no_exponent() -> None:
    assert (number(0.25), number(100000), number(3.0)) == ("0.25", "100000", "3")
