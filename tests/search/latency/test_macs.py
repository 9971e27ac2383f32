from __future__ import annotations

from pathlib import Path

import pytest
from made_up_boards import HOST, World, install, kernel, write

from tvmkd.base.errors import MissingError
from tvmkd.search.latency.macs import Macs
from tvmkd.search.latency.prediction import Latency


def test_a_network_counts_as_half_of_its_operations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, World())
    with Macs(HOST) as macs:
        predictor: Latency = macs
        found = predictor.predict_model(write([1, 2, 2], tmp_path / "n.onnx"))
        assert found == predictor.predict(predictor.kernels(tmp_path / "n.onnx"))
    expected = (kernel(1).flop + 2 * kernel(2).flop) / 2 * 1e-9
    assert found.seconds == found.low == found.high == pytest.approx(expected)
    assert found.interpolated == 0
    assert found.fixed == 0
    assert macs.unit == "MACs"
    assert macs.describe() == {"target": HOST.name, "kernels_measured": 0}


def test_nothing_can_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, World())
    with Macs(HOST) as macs, pytest.raises(MissingError, match="no tracker of its boards"):
        macs.measure(tmp_path / "n.onnx")
