"""The report in a real browser: it renders, in both schemes and on a phone's width."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
import samples
import trainings

from tvmkd import report
from tvmkd.report import training_history, training_page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _chromium(page: Path, *flags: str) -> str:
    assert CHROMIUM is not None
    profile = page.parent / "profile"
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return report.write(
        folder / "report.html",
        samples.five(),
        accuracy=samples.ACCURACY,
        records_dir=samples.records(folder / "records"),
        kernels=samples.KERNELS,
    )


def test_the_browser_builds_the_page(page: Path) -> None:
    dom = _chromium(page, "--dump-dom")
    assert "tvm is 1.27× as fast as onnxruntime</h1>" in dom
    assert dom.count("<svg") == 8
    assert dom.count("<section") == 7


@pytest.mark.parametrize(("scheme", "dark"), [(1, False), (0, True)])
def test_it_paints_in_both_schemes(page: Path, tmp_path: Path, scheme: int, dark: bool) -> None:
    picture = tmp_path / "page.png"
    _chromium(
        page,
        f"--screenshot={picture}",
        "--window-size=1100,1600",
        f"--blink-settings=preferredColorScheme={scheme}",
    )
    width, height, rows = _png(picture)
    assert (width, height) == (1100, 1600)
    corner = rows[2][2]
    assert (sum(corner) < 120) is dark
    colours = {pixel for row in rows[::7] for pixel in row[::7]}
    # Text, bars, the budget line and their edges: a blank page has one colour, an error few.
    assert len(colours) > 40
    accent = (0x2D, 0xD4, 0xBF) if dark else (0x0F, 0x76, 0x6E)
    assert accent in {pixel for row in rows[::3] for pixel in row}


def test_the_page_of_a_runs_trainings_paints_in_the_dark(tmp_path: Path) -> None:
    trainings.thirty(tmp_path, 20)
    known = training_history.of_run(tmp_path)
    page = training_page.write(tmp_path / "training.html", "big", known, None)
    picture = tmp_path / "page.png"
    _chromium(
        page,
        f"--screenshot={picture}",
        "--window-size=1100,1500",
        "--blink-settings=preferredColorScheme=0",
    )
    _, _, rows = _png(picture)
    assert sum(rows[2][2]) < 120
    # The legend's marks of the first five kinds, in the colours of their lines.
    shown = {pixel for row in rows for pixel in row}
    kinds = {(0x2D, 0xD4, 0xBF), (0xFB, 0x92, 0x3C), (0x93, 0xA0, 0xFF), (0xF4, 0x72, 0xB6)}
    assert kinds | {(0xA3, 0xB0, 0xC0)} <= shown


def test_it_does_not_scroll_sideways_on_a_phone(page: Path, tmp_path: Path) -> None:
    # Headless windows have a least width of 500, so the phone is a frame in a wider page.
    frame = page.with_name("frame.html")
    frame.write_text(
        '<body style="margin:0;background:#f0f"><iframe src="report.html" '
        'style="border:0;width:360px;height:3000px"></iframe></body>'
    )
    picture = tmp_path / "phone.png"
    _chromium(frame, f"--screenshot={picture}", "--window-size=600,3000")
    _, _, rows = _png(picture)
    # The right margin of the page is its background from top to bottom: nothing sticks out.
    page_colour = rows[2][2]
    margin = {row[x] for row in rows[:3000] for x in (352, 356, 359)}
    assert margin == {page_colour}
    assert rows[100][500] == (255, 0, 255)


def _png(path: Path) -> tuple[int, int, list[list[tuple[int, int, int]]]]:
    """Decodes an 8-bit RGB or RGBA PNG: there is no imaging library among the dependencies."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert depth == 8
    size = {2: 3, 6: 4}[kind]
    packed, at = b"", 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += 12 + length
    raw, stride = zlib.decompress(packed), width * size
    rows: list[list[tuple[int, int, int]]] = []
    previous = bytearray(stride)
    for y in range(height):
        start = y * (stride + 1)
        line = bytearray(raw[start + 1 : start + 1 + stride])
        _unfilter(raw[start], line, previous, size)
        rows.append([(line[x], line[x + 1], line[x + 2]) for x in range(0, stride, size)])
        previous = line
    return width, height, rows


def _unfilter(kind: int, line: bytearray, above: bytearray, size: int) -> None:
    for i in range(len(line)):
        left = line[i - size] if i >= size else 0
        up = above[i]
        corner = above[i - size] if i >= size else 0
        if kind == 1:
            add = left
        elif kind == 2:
            add = up
        elif kind == 3:
            add = (left + up) // 2
        elif kind == 4:
            guess = left + up - corner
            add = min((left, up, corner), key=lambda value: abs(guess - value))
        else:
            return
        line[i] = (line[i] + add) & 255
