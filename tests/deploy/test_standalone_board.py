"""`tvmkd compare` of a standalone library on a board, and of the same on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from tvmkd import targets
from tvmkd.base.errors import InputError, UsageError
from tvmkd.bench import EngineSpec
from tvmkd.boards import emulate
from tvmkd.deploy.standalone_board import StandaloneBoardEngine

QUICK = ["--seconds", "0.2", "--rounds", "2", "--threads", "1", "--processes", "1", "--json"]
EXAMPLE = {"x": np.ones((1, 4), np.float32), "counts": np.array([1, 2, 3], np.int64)}


def compared(capfd: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    from tvmkd import cli

    code = cli.execute(["compare", *map(str, argv), *QUICK])
    out, said = capfd.readouterr()
    assert code == 0, said
    found: dict[str, Any] = json.loads(out)
    return found


def test_on_this_machine_beside_onnx_runtime(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    onnx = toy.onnx_file(tmp_path / "toy.onnx")
    folder = toy.artifact_folder(tmp_path / "out", targets.load("host"))
    found = compared(capfd, onnx, "--artifact", folder, "--engine", "tvm:standalone",
                     "--engine", "onnxruntime")  # fmt: skip
    ours, theirs = found["engines"]
    assert (ours["name"], ours["kind"]) == ("tvm:standalone", "tvm:standalone")
    assert ours["facts"]["runtime"] == "standalone"
    assert ours["relative_error"] == 0
    assert ours["size_bytes"] == (folder / "libsample.so").stat().st_size
    assert 0 < ours["p50"] < theirs["p50"]


@pytest.mark.board
def test_under_qemu(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if emulate.why_not() is not None:
        pytest.skip(str(emulate.why_not()))
    onnx = toy.onnx_file(tmp_path / "toy.onnx")
    folder = toy.artifact_folder(tmp_path / "out", targets.load("jetson-nano"))
    found = compared(capfd, onnx, "--artifact", folder, "--emulate")
    (engine,) = found["engines"]
    assert (engine["name"], engine["kind"]) == ("tvm:standalone", "tvm:standalone@board")
    assert engine["relative_error"] == 0
    assert engine["facts"]["board"]["machine"] == "aarch64"
    assert found["context"]["emulated"] is True
    assert any("EMULATED" in line for line in found["warnings"])
    assert engine["peak_rss_bytes"] > 100_000


def test_over_ssh(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text('#!/bin/sh\nfor command; do :; done\ncd / && exec sh -c "$command"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:/usr/bin:/bin")
    onnx = toy.onnx_file(tmp_path / "toy.onnx")
    folder = toy.artifact_folder(tmp_path / "out", targets.load("host"))
    found = compared(
        capfd, onnx, "--artifact", folder, "--ssh", "user@board", "--engine", "tvm:standalone"
    )
    (engine,) = found["engines"]
    assert engine["kind"] == "tvm:standalone@board"
    assert engine["threads"] == 1
    assert "by the board's own clock" in found["method"]["measured"]
    assert engine["size_bytes"] < 200_000


def test_what_it_needs(tmp_path: Path) -> None:
    folder = toy.artifact_folder(tmp_path / "out", targets.load("host"))
    with (
        StandaloneBoardEngine(EngineSpec("s", "tvm:standalone@board", folder), 1) as engine,
        pytest.raises(UsageError, match="needs the option ssh"),
    ):
        engine.prepare(EXAMPLE)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["runtime"] = "tvm"
    manifest["files"]["model.so"] = manifest["files"]["libsample.so"]
    (folder / "libsample.so").rename(folder / "model.so")
    del manifest["files"]["libsample.so"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    spec = EngineSpec("s", "tvm:standalone@board", folder, options={"emulated": True})
    with (
        StandaloneBoardEngine(spec, 1) as engine,
        pytest.raises(InputError, match="needs TVM's runtime; build it with --runtime standalone"),
    ):
        engine.prepare(EXAMPLE)
