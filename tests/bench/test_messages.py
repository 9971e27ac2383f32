from __future__ import annotations

import json
from pathlib import Path

from tvmkd.bench.messages import Prepare
from tvmkd.bench.spec import EngineSpec


def test_a_request_survives_the_way_to_the_engine_s_process(tmp_path: Path) -> None:
    spec = EngineSpec("a", "onnxruntime", str(tmp_path / "m.onnx"), "fp16", {"spin": False})
    asked = Prepare(spec, 2, [0, 1], ["000.npz"], ["x", "y"], "out")
    assert Prepare.from_dict(json.loads(json.dumps(asked.to_dict()))) == asked
