"""A detector through distilling, pruning, QAT and export to int8; only compiling is left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tvmkd import config
from tvmkd.base.detector_description import Description
from tvmkd.detection import runtime
from tvmkd.distill.detection import DetectionTask
from tvmkd.export.outputs import facts_of
from tvmkd.models import checkpoint
from tvmkd.prune import pruning
from tvmkd.quantize import quantizing
from tvmkd.stages import pipeline

NETWORK: dict[str, Any] = {
    "model": "ssdlite",
    "args": {"width": 0.5, "finest": 8, "extras": 0, "pyramid": 32, "scales": [0.2, 0.3, 0.5, 0.8]},
}
SECTIONS: dict[str, Any] = {
    "data": {"dataset": "scenes", "image_size": 64, "scenes": [16, 4, 4], "batch_size": 8},
    "teacher": {**NETWORK, "epochs": 1},
    "student": NETWORK,
    "distill": {"epochs": 1, "seeds": [0], "baseline": False},
    "prune": {"steps": 1, "ratio": 0.4, "epochs": 1, "max_drop": 0.9},
    "quantize": {"epochs": 1, "images": 4, "allow_slow": True},
    "export": {"precision": "int8", "allow_slow": True},
    "target": {"name": "host"},
}


@pytest.mark.slow
def test_a_detector_is_distilled_pruned_quantised_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_compiled(source: Path, place: Path, *_: Any) -> Path:
        assert source.is_file()
        return place / "artifact"

    monkeypatch.setattr(pruning, "_compile", not_compiled)
    times = [[2.0] * 5] * 6, [[1.0] * 5] * 6
    monkeypatch.setattr(pruning.interleaved, "in_turns", lambda *_: times)
    monkeypatch.setattr(quantizing, "_time", lambda *_: ({}, {}))
    thresholds = iter((0.1, 0.2, 0.3))  # each network has its own

    def calibrate(self: DetectionTask, network: Any, run: Any, team: Any = None) -> dict[str, str]:
        about = network.describe(self.classes)
        logits, _ = run(self.plain["val"].batch([0])[0])
        assert logits.shape == (1, len(about.anchors), 11)
        return replace(about, threshold=next(thresholds)).to_metadata()

    monkeypatch.setattr(DetectionTask, "calibrate", calibrate)
    sections = {**SECTIONS, "project": {"name": "edge", "out": str(tmp_path / "run")}}
    found = pipeline.run(config.parse(sections), until="export")
    json.dumps(found)
    assert found["distill"]["metric"] == "mAP"
    assert found["prune"]["metric"] == found["quantize"]["metric"] == "mAP"
    first, pruned = found["prune"]["steps"]
    assert pruned["kept"]
    assert pruned["macs"] < 0.8 * first["macs"]
    assert 0.0 <= found["quantize"]["agreement"] <= 1.0
    assert found["quantize"]["quantized"] > 20
    # What ships is the int8 file of the pruned network, and says how its outputs are read.
    path = tmp_path / "run" / "student.onnx"
    assert facts_of(onnx.load(str(path)))[0].precision == "qdq"
    assert path.read_bytes() == (tmp_path / "run" / "student-int8.onnx").read_bytes()
    detector = runtime.load(path)
    with np.load(tmp_path / "run" / "inputs.npz") as saved:
        (images,) = saved.values()
    assert images.shape == (4, 3, 64, 64)
    assert 0 <= images.min() < images.max() <= 1
    assert detector.classes == tuple("0123456789")
    assert detector.threshold == 0.3
    for name, threshold in (("student", 0.1), ("pruned", 0.2)):
        saved = checkpoint.load(tmp_path / "run" / f"{name}.pt")
        assert Description.from_metadata(saved.meta, name).threshold == threshold
    detector((images[0] * 255).astype(np.uint8).transpose(1, 2, 0))
    assert runtime.load(tmp_path / "run" / "teacher.onnx").classes == detector.classes
    logits, offsets = detector.infer(images[:1])
    assert logits.shape[1] == offsets.shape[1] == len(detector.description.anchors)
