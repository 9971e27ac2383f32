"""``tvmkd engine build``: without the package, with a stand-in, and with TensorRT-RTX itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_fakes import GPU, Generation, told
from small_nets import net, pictures

from tvmkd.tensorrt import device
from tvmkd.tensorrt.engine import read

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def generation(monkeypatch: pytest.MonkeyPatch) -> Generation:
    made = Generation("8.6")
    monkeypatch.setitem(sys.modules, "tensorrt", made.module)
    monkeypatch.setattr(device, "find", lambda: GPU)
    return made


@pytest.mark.parametrize(
    ("product", "module", "how"),
    [
        ("tensorrt", "tensorrt", "pip install 'tvmkd[tensorrt]'"),
        ("tensorrt-rtx", "tensorrt_rtx", "pip install 'tvmkd[tensorrt-rtx]'"),
    ],
)
def test_without_the_package_it_ends_before_any_work(
    product: str,
    module: str,
    how: str,
    tvmkd: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    # Not even the model is looked at.
    ended = tvmkd(
        "engine", "build", tmp_path / "no.onnx", "-o", tmp_path / "e", "--product", product
    )
    assert ended.code == 5
    assert how in ended.line
    assert list(tmp_path.iterdir()) == []


def test_an_engine_and_its_facts(tvmkd: Run, tmp_path: Path, generation: Generation) -> None:
    path, out = net(tmp_path / "m.onnx", "N"), tmp_path / "out" / "m.plan"
    argv = ["engine", "build", path, "-o", out, "--batch", "1:4:8", "--precision", "fp16"]
    argv += ["--workspace", 64]
    ended = tvmkd(*argv)
    assert ended.code == 0, ended.err
    assert f"{out}: TensorRT 8.6.1, fp16, for {GPU.name}" in ended.out
    plan = told(read(out).plan)
    assert plan["flags"] == ["FP16", "TF32"]
    assert plan["WORKSPACE"] == 64 << 20
    facts = json.loads(tvmkd(*argv, "--json").out)
    assert facts["cached"] is True
    assert (facts["product"], facts["batch"]) == ("tensorrt", [1, 4, 8])
    assert generation.builds == 1
    assert json.loads(tvmkd(*argv, "--json", "--fresh").out)["cached"] is False
    assert generation.builds == 2


def test_a_batch_may_be_one_number(tvmkd: Run, tmp_path: Path, generation: Generation) -> None:
    path, out = net(tmp_path / "m.onnx", "N"), tmp_path / "m.plan"
    assert tvmkd("engine", "build", path, "-o", out, "--batch", "3").code == 0
    assert read(out).batch == (3, 3, 3)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--batch", "many"], 2, "is not MIN:BEST:MAX"),
        (["--batch", "4:2:1"], 2, "smallest ≤ best ≤ largest"),
        (["--calibration", "c.npz"], 2, "goes with --precision int8"),
        (["--compute-capability", "8.6"], 2, "builds for the GPU of this machine"),
        (["--precision", "int8"], 4, "give inputs to calibrate with"),
        ([], 4, 'dimension "N" of input "x" is free'),
    ],
)
def test_wrong_calls_are_one_line(
    options: list[str],
    code: int,
    message: str,
    tvmkd: Run,
    tmp_path: Path,
    generation: Generation,
) -> None:
    batch = [] if "--batch" in options or not options else ["--batch", "1"]
    path = net(tmp_path / "m.onnx", "N")
    ended = tvmkd("engine", "build", path, "-o", tmp_path / "e.plan", *batch, *options)
    assert ended.code == code
    assert message in ended.err
    assert not (tmp_path / "e.plan").exists()


def test_calibration_has_to_be_an_npz(tvmkd: Run, tmp_path: Path, generation: Generation) -> None:
    path = net(tmp_path / "m.onnx")
    np.save(tmp_path / "c.npy", pictures(2))
    argv = ["engine", "build", path, "-o", tmp_path / "e.plan", "--precision", "int8"]
    ended = tvmkd(*argv, "--calibration", tmp_path / "c.npy")
    assert (ended.code, "not an .npz of arrays" in ended.line) == (4, True)


def test_rtx_is_never_called_tensorrt(tvmkd: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    path, out = net(tmp_path / "m.onnx", 1), tmp_path / "m.plan"
    np.savez(tmp_path / "c.npz", x=pictures(4))
    argv = ["engine", "build", path, "-o", out, "--product", "tensorrt-rtx"]
    argv += ["--precision", "int8", "--calibration", tmp_path / "c.npz"]
    argv += ["--compute-capability", "8.9"]
    ended = tvmkd(*argv)
    assert ended.code == 0, ended.err
    assert "TensorRT" not in ended.out.replace("TensorRT-RTX", "")
    assert "int8, for compute capability 8.9" in ended.out
    facts = json.loads(tvmkd(*argv, "--json").out)
    assert (facts["product"], facts["cached"]) == ("tensorrt-rtx", True)
    assert facts["layers"]
