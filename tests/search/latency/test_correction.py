from __future__ import annotations

import json
from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.search.latency import correction
from tvmkd.search.latency.feedback import Verdict
from tvmkd.search.latency.prediction import Kernel, KernelTime, Prediction


def verdict_of(ratio: float, half: float = 0.01) -> Verdict:
    ends = ratio * (1 - half), ratio * (1 + half)
    return Verdict(2e-3 * ratio, 2e-3, ratio, *ends, (0.95, 1.1), 200)


def test_corrections_add_up(tmp_path: Path) -> None:
    assert correction.factor(tmp_path) == 1.0
    verdict = verdict_of(1.3)
    assert correction.update(tmp_path, verdict, "log.csv", "net.onnx") == pytest.approx(1.3)
    # What is seen since then is against predictions with the factor.
    again = verdict_of(0.8)
    correction.update(tmp_path, again, "http://nano:8000", "net.onnx")
    assert correction.factor(tmp_path) == pytest.approx(1.04)
    kept = json.loads((tmp_path / correction.FILE).read_text())
    assert [entry["source"] for entry in kept["entries"]] == ["log.csv", "http://nano:8000"]
    assert kept["entries"][0]["count"] == 200
    assert kept["entries"][0]["date"].endswith("+00:00")


def test_a_correction_stretches_all_of_a_prediction() -> None:
    kernel = KernelTime(Kernel("k", "n", "dense", 2, 1.0), 1e-3, "interpolated", 0.1)
    before = Prediction(2e-3, 1.9e-3, 2.2e-3, [kernel], 1e-5)
    after = correction.corrected(before, 1.5)
    assert after.seconds == pytest.approx(3e-3)
    assert (after.low, after.high) == (pytest.approx(2.85e-3), pytest.approx(3.3e-3))
    assert after.fixed == pytest.approx(1.5e-5)
    assert after.kernels[0].seconds == pytest.approx(1.5e-3)
    assert after.kernels[0].source == "interpolated"
    assert correction.corrected(before, 1.0) is before


def test_a_ratio_that_is_hardly_known_corrects_nothing(tmp_path: Path) -> None:
    rough = verdict_of(1.3, 0.2)
    with pytest.raises(InputError, match="too uncertain to correct"):
        correction.update(tmp_path, rough, "a", "b")
    assert not (tmp_path / correction.FILE).exists()


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"schema_version": 1}', '{"schema_version": 1, "factor": 0, "entries": []}'],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / correction.FILE).write_text(text)
    with pytest.raises(InputError, match="is damaged; remove it"):
        correction.factor(tmp_path)
    (tmp_path / correction.FILE).write_text('{"schema_version": 2}')
    with pytest.raises(InputError, match="has schema 2"):
        correction.factor(tmp_path)
