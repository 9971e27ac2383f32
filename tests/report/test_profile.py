"""The page of a profile."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tvmkd.bench.kernel_profile import Kernel, KernelProfile
from tvmkd.bench.roofline import Roofline
from tvmkd.report import profile as page

CONV = Kernel("conv<1>", 2, 80.0, 0.8, ["n0", "n1", "n2"], "conv2d", 50.0, 40.0, 0.5, 70.0)
STEP = Kernel("step", 1, 10.0, 0.1)
REST = Kernel("(between kernels)", 1, 10.0, 0.1)
MADE = KernelProfile("a/m.onnx", "out", [CONV, STEP, REST], 100.0, 90.0, 2.0, Roofline(100, 10, 2))


def test_every_kernel_is_in_the_table_with_what_is_known_of_it(tmp_path: Path) -> None:
    page.write(tmp_path / "p.html", MADE)
    text = (tmp_path / "p.html").read_text()
    assert "m.onnx: 0.1 ms, most of it in conv&lt;1&gt; (80%)" in text
    assert "n0, n1 and 1 more" in text
    assert "1 kernels: their outputs are no tensors of the model" in text
    assert "between kernels: other" not in text
    slow = dataclasses.replace(MADE, kernels=[CONV, dataclasses.replace(REST, us=20.0)])
    assert "20% of a run lie between kernels: other processes use the CPUs" in page.render(slow)
    assert "Roofline" in text
    conv, step, _ = page.table(MADE).rows
    assert [cell.text for cell in conv.cells] == [
        "2", "80.0", "80.0%", "70.0", "50.0", "40.00", "50%", "n0, n1 and 1 more",
    ]  # fmt: skip
    assert [cell.text for cell in step.cells][3:] == ["–"] * 5


def test_bars_and_dots_are_where_the_figures_are() -> None:
    drawn = str(page.bars(MADE, 940).render())
    assert drawn.count("fill-first") == 3
    assert drawn.count("fill-other") == 1
    dots = str(page.roofline(MADE, 330).render())
    assert dots.count("<circle") == 1


def test_without_counted_operations_there_is_no_roofline() -> None:
    text = page.render(dataclasses.replace(MADE, kernels=[STEP, REST]))
    assert "<h2>Roofline" not in text
    empty = page.render(dataclasses.replace(MADE, kernels=[REST]))
    assert "m.onnx: 0.1 ms<" in empty
