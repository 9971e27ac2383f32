from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tvmkd.distill.task import Metric
from tvmkd.prune import curve

ACCURACY = Metric("accuracy", scale=100, digits=1, unit="%")


@dataclass
class At:
    kept: bool
    test_score: float
    ms: float


def test_every_step_is_on_the_page_and_what_was_undone_is_said(tmp_path: Path) -> None:
    steps = [At(True, 0.98, 2.0), At(False, 0.97, 2.1), At(True, 0.975, 1.0)]
    curve.draw(steps, tmp_path / "pruning.html", ACCURACY, 20.0)
    page = (tmp_path / "pruning.html").read_text()
    for text in ("student 98.0%", "step 1, undone 97.0%", "step 2 97.5%", "1 of 2 steps kept"):
        assert text in page
    assert "2 ms to 1 ms, test accuracy 98.0 to 97.5%" in page
    assert [path.name for path in tmp_path.iterdir()] == ["pruning.html"]


def test_nothing_kept_is_said(tmp_path: Path) -> None:
    curve.draw([At(True, 0.98, 2.0), At(False, 0.97, 2.1)], tmp_path / "pruning.html", ACCURACY)
    assert "No step was faster" in (tmp_path / "pruning.html").read_text()


def test_the_scores_have_the_metric_s_name_and_form(tmp_path: Path) -> None:
    steps = [At(True, 0.541, 2.0), At(True, 0.5, 1.0)]
    curve.draw(steps, tmp_path / "pruning.html", Metric("mAP", label="mAP "))
    page = (tmp_path / "pruning.html").read_text()
    assert "Latency and mAP, step by step" in page
    assert "test mAP 0.541 to 0.500" in page
