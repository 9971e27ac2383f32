from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tvmkd import models
from tvmkd.bench import CompareOptions, EngineSpec, compare
from tvmkd.export.onnx import export
from tvmkd.models import checkpoint


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++")
def test_eager_and_compiled_agree_with_the_exported_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Inductor would compile a program to find out whether this CPU has AVX2.
    monkeypatch.setenv("TORCHINDUCTOR_VEC_ISA_OK", "1")
    torch.manual_seed(0)
    small = {"channels": 1, "stem": 8, "blocks": [[8, 1]]}
    module = models.build("depthwise", **small).eval()
    path = tmp_path / "student.pt"
    saved = checkpoint.Checkpoint({"spec": "depthwise", "kwargs": small}, module.state_dict())
    checkpoint.save(path, saved)
    onnx = export(module, tmp_path / "student.onnx", (1, 1, 8, 8))
    result = compare(
        [EngineSpec("torch", "torch", path), EngineSpec("compiled", "torch.compile", path)],
        onnx,
        options=CompareOptions(threads=1, seconds=0.1, rounds=2, processes=1),
    )
    assert result.left_out == []
    eager, compiled = result.engine("torch"), result.engine("compiled")
    assert eager is not None
    assert compiled is not None
    assert compiled.facts["backend"] == "inductor"
    assert compiled.build_seconds > eager.build_seconds
    assert max(eager.max_abs_error, compiled.max_abs_error) < 1e-3
