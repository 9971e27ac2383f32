from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from build_fakes import GPU

from tvmkd.base.errors import InputError
from tvmkd.tensorrt.engine import Engine, read, write

ENGINE = Engine(
    plan=b"a plan",
    product="tensorrt",
    version="8.6.1",
    precision="fp16",
    gpu=GPU.name,
    compute_capability=GPU.compute_capability,
    driver=GPU.driver,
    seconds=1.5,
    layers=({"Name": "conv"},),
    network_layers=5,
    inputs=({"name": "x", "shape": [-1, 3], "dtype": "float32"},),
    outputs=({"name": "y", "shape": [-1, 3], "dtype": "float32"},),
    batch=(1, 2, 4),
    onnx_sha256="0" * 64,
    notes=("slow",),
)
CROSS = replace(ENGINE, product="tensorrt-rtx", version="1.7.1.116", gpu=None, driver=None)


@pytest.mark.parametrize("engine", [ENGINE, replace(CROSS, batch=None, compute_capability=None)])
def test_engine_round_trip(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.plan"
    write(engine, path)
    assert read(path) == engine
    assert sorted(item.name for item in path.parent.iterdir()) == ["m.plan", "m.plan.json"]
    facts = json.loads((path.parent / "m.plan.json").read_text())["engine"]
    assert (facts["size"], "plan" in facts) == (6, False)


def test_a_damaged_file_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    with pytest.raises(InputError, match="there is no such file"):
        read(path)
    write(ENGINE, path)
    path.write_bytes(b"a plot")
    with pytest.raises(InputError, match="not the one that was written"):
        read(path)
    write(ENGINE, path)
    (tmp_path / "m.plan.json").write_text('{"format": "tvmkd.engine"')
    with pytest.raises(InputError, match="is damaged"):
        read(path)
    (tmp_path / "m.plan.json").write_text('{"format": "other", "version": 1}')
    with pytest.raises(InputError, match="another format"):
        read(path)
