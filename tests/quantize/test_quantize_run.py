"""A student that takes seconds, quantised through the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.stacks import compile as steps
from tvmkd.stages import pipeline

SECTIONS: dict[str, Any] = {
    "project": {"name": "quantize"},
    "data": {"image_size": 16, "augment": "none"},
    "teacher": {"args": {"widths": [8], "depth": 1}, "epochs": 1},
    "student": {"model": "residual", "args": {"widths": [8, 16], "depth": 1}},
    "distill": {"loss": "kd", "epochs": 6, "seeds": [0], "baseline": False, "lr": 4e-3},
    "quantize": {"method": "ptq", "allow_slow": True},
    "compare": {"seconds": 0.2, "rounds": 2},
}


@pytest.mark.slow
def test_after_training_and_with_it(tmp_path: Path) -> None:
    for method in ("ptq", "qat"):
        sections = {**SECTIONS, "project": {"name": "q", "out": str(tmp_path / "run")}}
        sections["quantize"] = {"method": method, "epochs": 2, "allow_slow": True}
        found: dict[str, Any] = pipeline.run(config.parse(sections), until="quantize")["quantize"]
        json.dumps(found)
        assert found["quantized"] == 8
        assert found["agreement"] > 0.95
        assert found["int8_accuracy"] > found["fp32_accuracy"] - 0.05
        assert {"onnxruntime fp32", "onnxruntime int8"} <= set(found["ms"])
        assert set(found["ms"]) | set(found["left_out"]) == {
            "onnxruntime fp32",
            "onnxruntime int8",
            "tvm fp32",
            "tvm int8",
        }
        assert ("trained_accuracy" in found) == (method == "qat")
    assert (tmp_path / "run/student-int8.onnx").is_file()


@pytest.mark.slow
def test_what_tvm_does_not_build_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(onnx: Path, *_: Any, **__: Any) -> None:
        raise InputError(f"{onnx.name}: differs from ONNX Runtime")

    monkeypatch.setattr(steps, "build", build)
    sections = {**SECTIONS, "project": {"name": "q", "out": str(tmp_path / "run")}}
    found = pipeline.run(config.parse(sections), until="quantize")["quantize"]
    assert set(found["ms"]) == {"onnxruntime fp32", "onnxruntime int8"}
    assert found["left_out"]["tvm int8"] == "student-int8.onnx: differs from ONNX Runtime"


def test_a_target_where_it_does_not_pay_is_refused_before_any_training(tmp_path: Path) -> None:
    sections = {**SECTIONS, "project": {"name": "q", "out": str(tmp_path / "run")}}
    sections |= {"quantize": {"method": "ptq"}, "target": {"name": "jetson-nano-gpu"}}
    with pytest.raises(InputError, match="jetson-nano-gpu: int8 does not pay there: sm_53"):
        pipeline.run(config.parse(sections), until="quantize")
    assert not (tmp_path / "run").exists()
