"""From ``--byoc`` to a comparison: a library with regions beside one without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toys

pytestmark = pytest.mark.usefixtures("warm_worker")

QUICK = ("--seconds", "0.1", "--rounds", "2", "--processes", "1", "--threads", "1")


def test_a_library_with_regions_is_an_engine_of_its_own(tvmkd: Any, tmp_path: Path) -> None:
    onnx = toys.onnx_file(tmp_path / "m.onnx")
    handed, plain = tmp_path / "handed", tmp_path / "plain"
    assert tvmkd("build", onnx, "--byoc", "onnxruntime", "-o", handed).code == 0
    assert tvmkd("build", onnx, "--untuned", "-o", plain).code == 0
    done = tvmkd("compare", onnx, *QUICK, "--artifact", plain, "--artifact", handed, "--json")
    assert done.code == 0, done.err
    found = {engine["name"]: engine for engine in json.loads(done.out)["engines"]}
    assert set(found) == {"onnxruntime", "tvm", "tvm+onnxruntime"}
    facts = found["tvm+onnxruntime"]["facts"]
    assert facts["coverage"]["byoc"]["regions"] == 1
    done = tvmkd("compare", onnx, "--artifact", handed, "--artifact", handed)
    assert done.code == 4
    assert "have regions for onnxruntime: give one of each" in done.line
    done = tvmkd("compare", onnx, *QUICK, "--engine", "tvm+tensorrt", "--engine", "onnxruntime")
    assert done.code == 4
    assert "engine tvm+tensorrt cannot run: " in done.line
    assert "no artifact was given that it runs" in done.line
    other = toys.onnx_file(tmp_path / "other.onnx", "Neg")
    done = tvmkd("compare", other, *QUICK, "--artifact", plain, "--engine", "tvm")
    assert done.code == 4
    assert "tvm is left out: output 0" in done.err
    assert "no engine could be measured" in done.line
