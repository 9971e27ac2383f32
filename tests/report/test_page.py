from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import samples

from tvmkd import report
from tvmkd.bench import schema
from tvmkd.report import charts


class _Balance(HTMLParser):
    """Checks that what is opened is closed, and collects addresses."""

    void = frozenset({"meta", "wbr", "br", "img", "link", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [str(value) for key, value in attrs if key in {"src", "href"}]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path: Path) -> str:
    path = report.write(
        tmp_path / "deep/r.html",
        samples.five(),
        accuracy=samples.ACCURACY,
        records_dir=samples.records(tmp_path / "records"),
        kernels=samples.KERNELS,
        metadata={"Teacher": "residual <26>"},
    )
    assert [item.name for item in path.parent.iterdir()] == ["r.html"]
    return path.read_text(encoding="utf-8")


def test_well_formed_and_self_contained(page: str) -> None:
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert parser.addresses == []
    assert "<script" not in page
    assert not re.search(r"https?://|@import|url\(", page)
    assert "default-src 'none'" in page


def test_everything_a_person_chooses_by_is_there(page: str) -> None:
    for text in (
        "tvm is 1.27× as fast as onnxruntime",
        "of the 3 ms budget at p99",
        "accuracy of student distilled",
        "tensorrt is not &lt;installed&gt;",
        "other processes used 0.31 CPUs",
        "How steady each engine is",
        "Accuracy against latency",
        "120 trials.",
        "Where the time goes",
        "4 smaller ones",
        "residual &lt;26&gt;",
        "governor not visible",
    ):
        assert text in page, text


def test_what_an_emulated_board_took_is_marked_wherever_a_time_stands() -> None:
    real = samples.five()
    emulated = real.model_copy(
        update={"context": real.context.model_copy(update={"emulated": True})}
    )
    assert "emulated" not in report.render(real)
    page = report.render(emulated)
    assert '<span class="pill bad">emulated</span>' in page
    assert "Times in ms (emulated)" in page
    assert not re.search(r"[\d.]+ ms</b>", page)
    assert page.count("ms (emulated) for one call") == 4


def test_a_detectors_figures_are_called_by_their_name() -> None:
    page = report.render(samples.five(), accuracy=samples.ACCURACY, metric="mAP")
    assert "mAP against latency" in page
    assert "mAP of student distilled" in page
    assert "ccuracy" not in re.sub(r"<style>.*</style>", "", page, flags=re.S)


def test_what_a_sceptic_asks_of_a_gpu_is_there() -> None:
    made = samples.comparison(
        samples.engine(
            "tensorrt",
            1.0,
            tolerance=0.02,
            engine_seconds=412.0,
            gpu_memory_bytes=55_000_000,
            builds=[schema.Build(p50=ms, ci95=(ms, ms), round_sizes=[]) for ms in (1.0, 1.1)],
        )
    )
    gpu = schema.Gpu(
        name="Stand-in <1>",
        driver="550",
        sm_mhz=[345.0, None, 1980.0],
        memory_mhz=[None],
        max_sm_mhz=1990.0,
        temperature_c=[34.0, 51.0],
        power_w=[71.2],
        power_limit_w=700.0,
        slowed_by=["power cap"],
        locked=False,
    )
    context = made.context.model_copy(update={"gpu": gpu, "clocks_locked": False})
    method = made.method.model_copy(update={"cuda_graph": False, "builds": 2})
    page = report.render(made.model_copy(update={"context": context, "method": method}))
    for text in (
        "Stand-in &lt;1&gt;, driver 550, clocks unlocked, 345 to 1980 of at most 1990 MHz (SM)",
        "34 to 51 °C, 71 to 71 of at most 700 W, slowed down by power cap",
        "2 of each engine that chooses tactics when it is built",
        "<dt>CUDA graph</dt><dd>for none</dd>",
        "2 builds, medians 1.00 to 1.10 ms, 10.0% apart",
        "<td>7 min</td>",
        "<td>55.0 MB</td>",
        "<td>0.02</td>",
    ):
        assert text in page, text
    plain = report.render(samples.five())
    assert "<dt>GPU</dt>" not in plain
    assert "<dt>Builds</dt>" not in plain


def test_only_what_there_is_gets_a_section() -> None:
    page = report.render(samples.five(budget_ms=None))
    for title in ("Accuracy against latency", "<h2>Tuning", "Where the time goes"):
        assert title not in page
    assert "budget" not in re.sub(r"<style>.*</style>", "", page, flags=re.S)


def test_no_engine_at_all_still_makes_a_page() -> None:
    page = report.render(samples.comparison())
    assert "No engine could be measured." in page


def test_one_engine() -> None:
    assert "nothing to compare with" in report.render(
        samples.comparison(samples.engine("only", 1.0))
    )


@pytest.mark.parametrize("width", [charts.WIDE, charts.NARROW])
def test_nothing_is_drawn_beside_the_canvas(width: int, tmp_path: Path) -> None:
    from tvmkd.report import records

    history = records.read(samples.records(tmp_path / "records"))
    assert history is not None
    points = [(p["name"], p["accuracy"], p["latency_ms"]) for p in samples.ACCURACY]
    for canvas in (
        charts.budget(samples.five(), width),
        charts.distribution(samples.five(None), width),
        charts.accuracy(points, 3.0, width),  # type: ignore[arg-type]
        charts.tuning(history.curve, width),
    ):
        text = canvas.render()
        for name, limit in (("x", width), ("x1", width), ("x2", width), ("y", canvas.height)):
            found = [float(value) for value in re.findall(rf' {name}="([-\d.]+)"', text)]
            assert all(0 <= value <= limit for value in found), (name, found)


def test_identical_samples_do_not_break_a_plot() -> None:
    flat = samples.engine("flat", 1.0, spread=0.0)
    flat = flat.model_copy(update={"samples_ms": [1.0] * 400, "min": 1.0, "max": 1.0, "p99": 1.0})
    assert "<svg" in report.render(samples.comparison(flat))


def test_bars_are_as_long_as_the_figures_say(page: str) -> None:
    widths = [float(value) for value in re.findall(r'class="bar" style="width:([\d.]+)%"', page)]
    assert widths[0] == 100.0
    assert widths[3] == 25.0
