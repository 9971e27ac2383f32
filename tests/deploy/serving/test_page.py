"""The page for people, in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colours import make_colours
from PIL import Image
from running import Running, serving

from tvmkd.base.detector_description import Description

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_colours(tmp_path_factory.mktemp("colours") / "colours")


@pytest.fixture(scope="module")
def server(colours: Path, toy: Path) -> Iterator[Running]:
    with serving(colours, toy, "--no-grpc") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page on which any error of a script, and any request to elsewhere, fails the test."""
    found = browser.new_page(viewport={"width": 1100, "height": 1300})
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on("console", lambda line: line.type == "error" and errors.append(line.text))
    found.on(
        "request",
        lambda request: (
            request.url.startswith(("http://127.0.0.1:", "blob:", "data:"))
            or errors.append(request.url)
        ),
    )
    yield found
    found.close()
    assert [line for line in errors if "401" not in line] == []


def expect(locator: Any, text: str | re.Pattern[str]) -> None:
    """Waits until an element has a text. Functions are not waited for: the page forbids eval."""
    from playwright import sync_api

    sync_api.expect(locator).to_have_text(text)


def picture(path: Path, colour: tuple[int, int, int]) -> Path:
    Image.fromarray(np.full((60, 90, 3), colour, np.uint8)).save(path)
    return path


def test_a_picture_gets_the_name_of_its_class(page: Any, server: Running, tmp_path: Path) -> None:
    page.goto(server.url)
    page.wait_for_selector("#facts dd")
    assert page.text_content("h1") == "colours"
    facts = page.text_content("#facts")
    for text in (
        "red, green, blue",
        "1 × 3 × 16 × 16",
        "relax 0.27.0",
        "2 of 2 kernels",
        "1.0e-07",
    ):
        assert text in facts
    page.set_input_files("#file", picture(tmp_path / "green.png", (30, 200, 90)))
    page.wait_for_selector("#answer .row")
    rows = page.locator("#answer .row").all_text_contents()
    odds = np.exp(9 * np.array([200, 90, 30]) / 255)
    odds /= odds.sum()
    assert [row.split("%")[0] for row in rows] == [
        f"{name}{100 * share:.1f}"
        for name, share in zip(("green", "blue", "red"), odds, strict=True)
    ]
    page.get_by_label("inverted").check()
    expect(page.locator("#answer .row").first, re.compile("^red"))


def test_it_shows_what_happens(page: Any, server: Running) -> None:
    page.goto(server.url)
    page.wait_for_selector("#tiles .tile")
    page.get_by_role("tab", name="toy").click()
    assert page.text_content("h1") == "toy"
    expect(page.locator("#tiles"), re.compile("^–"))
    page.get_by_role("button", name="random").click()
    page.wait_for_selector("#answer p b")
    assert "out_x" in page.text_content("#answer")
    # The next second it is in the figures and in the plot.
    expect(page.locator("#tiles"), re.compile(r"\d ms"))
    accent = """() => {
        const c = document.querySelector('#plot'), d = c.getContext('2d')
            .getImageData(0, 0, c.width, c.height).data;
        let n = 0;
        for (let i = 0; i < d.length; i += 4)
            n += d[i + 3] > 100 && Math.abs(d[i] - 15) + Math.abs(d[i + 1] - 118) < 12;
        return n;
    }"""
    assert page.evaluate(accent) >= 4


def test_a_wrong_file_is_one_line(page: Any, server: Running, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    page.goto(server.url)
    page.wait_for_selector("#file", state="attached")
    page.set_input_files("#file", tmp_path / "notes.png")
    page.wait_for_selector("#answer .bad")
    assert "no picture" in page.text_content("#answer")


def test_it_does_not_scroll_sideways_on_a_phone(browser: Any, server: Running) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.goto(server.url)
    page.wait_for_selector("#facts dd")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()


def test_the_token_is_asked_for(page: Any, toy: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with serving(toy, "--no-grpc", "--token-file", token) as running:
        page.goto(running.url)
        page.wait_for_selector("#token")
        assert not page.is_visible("#all")
        page.fill("#token", "wrong")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#status"), "token needed")
        page.fill("#token", TOKEN)
        page.get_by_role("button", name="Use it").click()
        page.wait_for_selector("#facts dd")
        assert page.text_content("h1") == "toy"
        page.close()


def test_the_page_may_load_nothing_from_elsewhere(server: Running) -> None:
    with urllib.request.urlopen(server.url) as response:
        text, headers = response.read().decode(), response.headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "://" not in text
    for origin in ("https://evil.example", f"http://evil.example:{server.port}", "null"):
        request = urllib.request.Request(
            f"{server.url}/v2/models/toy/infer", b"{}", {"Origin": origin}
        )
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request)
        assert error.value.code == 403
        assert "other web sites" in json.loads(error.value.read())["error"]
    rebound = {
        "Origin": f"http://evil.example:{server.port}",
        "Host": f"evil.example:{server.port}",
    }
    request = urllib.request.Request(f"{server.url}/v2/models/toy/infer", b"{}", rebound)
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.code == 403


def test_a_detectors_threshold_is_shown_where_it_was_calibrated() -> None:
    from tvmkd.deploy.serving.page import threshold

    anchors = np.zeros((1, 4), np.float32)
    for given in (None, 0.25):
        about = Description(("cup",), 64, "sigmoid", (1.0,) * 4, anchors, given)
        assert threshold(about.to_metadata()) == given
    assert threshold({}) is None
    assert threshold({"tvmkd.detector": "{"}) is None
