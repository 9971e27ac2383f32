from __future__ import annotations

import re
from pathlib import Path

import pytest
import samples
from suite_files import NAMES, made

from tvmkd.report import charts
from tvmkd.suites import page
from tvmkd.suites.result import COMPARISON, Entry, Result


def test_the_page_has_every_network_and_every_reason(tmp_path: Path) -> None:
    text = page.write(made(tmp_path), tmp_path).read_text()
    assert "<title>mine: 3 of 5 networks on the CPU</title>" in text
    assert "tvm is the fastest, or level with it, on 3 of 3 networks" in text
    plain = re.sub("<[^>]*>", " ", text)
    assert "operator &lt;X&gt; is unknown" in text
    assert "the 3 minutes were over" in plain
    # What is the same for all networks is said once.
    assert plain.count("&lt;no&gt; checkpoint (all networks)") == 1
    assert plain.count("others were busy (all networks)") == 1


def test_a_suite_of_which_nothing_is_done(tmp_path: Path) -> None:
    result = made(tmp_path, 0)
    text = page.render(result, tmp_path)
    assert "No network of mine was compared" in text
    assert "operator &lt;X&gt; is unknown" in text


def test_one_engine_alone_has_no_chart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    samples.comparison(samples.engine("tvm", 1.0)).save(tmp_path / "a" / COMPARISON)
    result = Result(
        tool="t",
        created="c",
        suite="s",
        device="gpu",
        networks=[Entry(name="a", state="done", seconds=1.0)],
    )
    text = page.render(result, tmp_path)
    assert "tvm alone, on 1 network" in text
    assert "<svg" not in text


@pytest.mark.parametrize("width", [charts.WIDE, charts.NARROW])
def test_a_dot_for_each_engine_of_each_network(tmp_path: Path, width: int) -> None:
    result = made(tmp_path)
    compared = [(entry.name, found) for entry, found in result.comparisons(tmp_path)]
    drawn = str(page.chart(compared, NAMES, width).render())
    assert drawn.count("<circle") == 2 + 3 + 2 + len(NAMES)
    (shown,) = re.findall(r"net1, tensorrt: ([\d.]+)×", drawn)
    assert float(shown) == pytest.approx(3, abs=0.1)
