from __future__ import annotations

import json
import re
from pathlib import Path

import pages
import pytest
import samples

from tvmkd import report
from tvmkd.bench import schema


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
    read = pages.read(page)
    assert read.addresses == []
    assert "script" not in read.tags
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


def test_identical_samples_do_not_break_a_plot() -> None:
    flat = samples.engine("flat", 1.0, spread=0.0)
    flat = flat.model_copy(update={"samples_ms": [1.0] * 400, "min": 1.0, "max": 1.0, "p99": 1.0})
    assert "<svg" in report.render(samples.comparison(flat))


def test_bars_are_as_long_as_the_figures_say(page: str) -> None:
    widths = [float(value) for value in re.findall(r'class="bar" style="width:([\d.]+)%"', page)]
    assert widths[0] == 100.0
    assert widths[3] == 25.0


EVIL = '"><script>alert(1)</script><b onload="x'


def test_names_from_outside_are_text_wherever_they_appear(tmp_path: Path) -> None:
    folder = samples.records(tmp_path / "records")
    session = json.loads((folder / "session.json").read_text())
    for task in session["tasks"]:
        task["name"] = EVIL
    (folder / "session.json").write_text(json.dumps(session))
    made = samples.comparison(
        samples.engine(EVIL, 1.0, spread=0.1),
        samples.engine(f"b{EVIL}", 1.001, spread=0.1, seed=1, tolerance=0.1),
        samples.engine(f"c{EVIL}", 9.0, seed=2),
        budget_ms=3.0,
    )
    left_out = schema.LeftOut(name=EVIL, kind=EVIL, why="missing", reason=EVIL)
    fields = {"cpu": EVIL, "system": EVIL, "machine": EVIL, "versions": {EVIL: EVIL}}
    made = made.model_copy(
        update={
            "tool": EVIL,
            "created": EVIL,
            "left_out": [left_out],
            "warnings": [EVIL],
            "model": made.model.model_copy(update={"path": f"/models/{EVIL.replace('/', '')}"}),
            "context": made.context.model_copy(update=fields),
            "method": made.method.model_copy(update={"order": EVIL, "idle": EVIL}),
        }
    )
    page = report.write(
        tmp_path / "r.html",
        made,
        accuracy=[{"name": EVIL, "accuracy": 0.9, "latency_ms": 1.0}],
        metric=EVIL,
        records_dir=folder,
        kernels=[{"kernel": EVIL, "calls": EVIL, "us": 3.0}],
        metadata={EVIL: EVIL},
    ).read_text(encoding="utf-8")
    read = pages.read(page)
    assert "script" not in read.tags
    assert not [name for name in read.attributes if name.startswith("on")]
    assert read.text.count("<script>alert(1)</script>") > 20


def test_the_page_has_one_section_for_each_question_in_this_order(page: str) -> None:
    read = pages.read(page)
    assert read.headings == [
        "tvm is 1.27× as fast as onnxruntime",
        "Before you rely on this",
        "Time for one call, against the budget",
        "How steady each engine is",
        "Accuracy against latency",
        "Tuning",
        "Where the time goes",
        "How this was measured",
    ]
    assert read.tags["svg"] == 8, "a wide and a narrow drawing of each of four charts"
    assert read.tags["table"] == 4
    assert read.classes["tile"] == 5
    for scheme in ("prefers-color-scheme: dark", "@media print", "--page: #f4f5f7"):
        assert scheme in page
