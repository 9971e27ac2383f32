"""The whole page, as text and in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pages
import pytest
import studies
from studies import point

from tvmkd.search import choice, page
from tvmkd.search.results import Point, Study

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
EVIL = '"><script>alert(1)</script><b onload="x'


def full(points: list[Point], **known: Any) -> Study:
    hand = [point(0, 0.95, measured=3.0, predicted=2.9, structure={"name": "depthwise 1.0"})]
    fields = {
        "budget": 4.0,
        "baselines": hand,
        "teacher": {"model": "residual", "accuracy": 0.99, "macs": 41_000_000},
        "space": {"width": "0.25 to 1.5"},
        **known,
    }
    made = studies.study(points, **fields)
    winner = choice.of_study(made).winner
    return made.model_copy(update={"winner": winner.number if winner else None})


def test_the_page_is_well_formed_and_fetches_nothing(tmp_path: Path) -> None:
    path = page.write(full(studies.drawn(30)), tmp_path / "deep" / page.PARETO)
    text = path.read_text(encoding="utf-8")
    read = pages.read(text)
    assert all(address.startswith(("#trial-", "#by-hand-")) for address in read.addresses)
    assert read.tags["script"] == 1
    assert not re.search(r"https?://|@import|url\(", text)
    assert re.search(
        r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-\S+='", text
    )
    assert read.headings[1:] == [
        "Before you rely on this",
        "Accuracy against latency",
        "What other choices would have given",
        "How good the predictions were",
        "Progress of the search",
        "Which parameters mattered",
        "All networks",
        "How it was searched",
    ]
    anchors = set(re.findall(r'<tr id="([^"]+)"', text))
    assert {address[1:] for address in read.addresses} <= anchors
    assert len(anchors) == 31


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_anything_still_makes_a_page(count: int) -> None:
    made = studies.study(studies.drawn(count, seed=5))
    assert pages.read(page.render(made)).tags["h1"] == 1
    failed = studies.study([point(0, state="failed", error="NaN")], budget=1.0)
    read = pages.read(page.render(failed))
    assert read.headings[0] == "No network was trained to the end"
    assert read.classes["plot"] == 0
    assert "NaN" in read.text


def test_names_from_outside_are_text_wherever_they_appear() -> None:
    points = [
        point(0, 0.9, measured=1.0, predicted=1.0, macs=3, structure={EVIL: EVIL}),
        point(1, state="failed", error=EVIL),
    ]
    made = full(
        points,
        name=EVIL,
        target=EVIL,
        metric=EVIL,
        tvmkd_version=EVIL,
        teacher={"model": EVIL, "accuracy": 0.9, EVIL: EVIL},
        table={EVIL: EVIL},
        space={EVIL: EVIL},
        baselines=[point(0, 0.8, measured=1.0, structure={"name": EVIL})],
    )
    read = pages.read(page.render(made))
    assert read.tags["script"] == 1
    assert not [name for name in read.attributes if name.startswith("on")]
    assert read.text.count("<script>alert(1)</script>") > 12


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def test_points_and_table_in_a_browser(browser: Any, tmp_path: Path) -> None:
    path = page.write(full(studies.drawn(30)), tmp_path / page.PARETO)
    tab = browser.new_page(viewport={"width": 1100, "height": 900})
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda line: errors.append(line.text))
    tab.goto(path.as_uri())
    dots = tab.locator(".plot.wide a.dot")
    tip = dots.nth(3).locator("span")
    assert tip.bounding_box()["width"] <= 1, "hidden until it is pointed at"
    dots.nth(2).focus()
    tab.keyboard.press("ArrowRight")
    assert tip.bounding_box()["width"] > 60
    assert "width" in tip.inner_text()
    tab.keyboard.press("Enter")
    href = dots.nth(3).get_attribute("href")
    assert tab.url.endswith(href)
    assert tab.locator(f"tr{href}").is_visible()
    for order in ("descending", "ascending"):
        tab.get_by_role("button", name="accuracy").click()
        assert tab.locator("th[aria-sort]").get_attribute("aria-sort") == order
        column = tab.evaluate(
            "() => [...document.querySelectorAll('table.networks tbody tr')]"
            ".map(row => row.cells[4].dataset.sort).filter(Boolean).map(Number)"
        )
        assert len(column) > 20
        assert column == sorted(column, reverse=order == "descending")
    tab.close()
    phone = browser.new_page(viewport={"width": 360, "height": 800}, java_script_enabled=False)
    phone.goto(path.as_uri())
    assert phone.locator(".plot.narrow").is_visible()
    assert not phone.locator(".plot.wide").is_visible()
    box = phone.locator("main").bounding_box()
    assert box["width"] <= 360
    widest = max(part.bounding_box()["width"] for part in phone.locator("section").all())
    assert widest <= 360
    phone.close()
    assert errors == []
