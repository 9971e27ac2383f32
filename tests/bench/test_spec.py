from __future__ import annotations

import json
from pathlib import Path

from tvmkd.bench.spec import EngineSpec


def test_a_spec_survives_the_way_to_its_process() -> None:
    spec = EngineSpec("a", "onnxruntime", Path("m.onnx"), "fp16", {"mode": "x"})
    data = json.loads(json.dumps(spec.to_dict()))
    again = EngineSpec.from_dict(data)
    assert again.to_dict() == spec.to_dict()
    assert Path(data["path"]).is_absolute()


def test_no_path_stays_none() -> None:
    assert EngineSpec.from_dict(EngineSpec("a", "torch").to_dict()).path is None
