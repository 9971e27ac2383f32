"""``tvmkd profile``: what is measured, written and printed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from tvmkd import artifact as artifacts
from tvmkd.bench import profiling
from tvmkd.bench.kernel_profile import Kernel, KernelProfile
from tvmkd.bench.roofline import Roofline
from tvmkd.cli.profile import command
from tvmkd.stacks import compile as compiling

KERNELS = [
    Kernel("conv", 1, 8.0, 0.8, ["n0"], "conv2d", 50.0, 40.0, 0.5, 7.0, [8.0], [0.0]),
    Kernel("(between kernels)", 1, 2.0, 0.2),
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []

    def measure(onnx: Path, artifact: Path, inputs: Path | None, runs: int) -> Any:
        found.append((onnx, artifact.name, inputs, runs))
        made = KernelProfile(
            str(onnx), str(artifact), KERNELS, 10.0, 9.0, 1.0, Roofline(100, 10, 2)
        )
        return made, [{"name": "n0", "op": "Conv", "us": 7.0}]

    monkeypatch.setattr(profiling, "measure", measure)
    return found


def test_an_artifact_is_profiled_and_page_and_trace_are_written(
    asked: list[Any], tmp_path: Path
) -> None:
    onnx, artifact = tmp_path / "m.onnx", tmp_path / "out"
    onnx.write_bytes(b"")
    artifact.mkdir()
    page, trace = tmp_path / "p.html", tmp_path / "t.json"
    done = CliRunner().invoke(
        command,
        [str(onnx), "--artifact", str(artifact), "--report", str(page), "--trace", str(trace)],
    )
    assert done.exit_code == 0, done.output
    assert asked == [(onnx, "out", None, 30)]
    assert "conv" in done.output
    assert "n0" in done.output
    assert "a run: 0.010 ms; ONNX Runtime's nodes: 0.009 ms" in done.output
    assert "<html" in page.read_text()
    assert len(json.loads(trace.read_text())["traceEvents"]) == 4


def test_without_an_artifact_one_is_built(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = tmp_path / "m.onnx"
    onnx.write_bytes(b"")
    built: list[Any] = []
    monkeypatch.setattr(compiling, "build", lambda *args, **named: built.append(args))
    done = CliRunner().invoke(command, [str(onnx), "--runs", "2", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kernels"][0]["nodes"] == ["n0"]
    ((file, target, records, _),) = built
    assert (file, records) == (onnx, [])
    assert target.runs_here() is None
    assert asked == [(onnx, "artifact", None, 2)]


def test_what_is_missing_is_named_before_anything_is_measured(
    asked: list[Any], tmp_path: Path
) -> None:
    done = CliRunner().invoke(command, [str(tmp_path / "gone.onnx")])
    assert done.exit_code != 0
    assert asked == []


def test_kernels_of_a_gpu_that_nobody_has_run_are_ranked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = {
        "conv": {"flop": 2e9, "kind": "conv2d", "calls": 2, "nodes": ["/a", "/b"]},
        "dense": {"flop": 1e9, "ptxas": {"registers": 255, "spill_bytes": 64, "occupancy": 0.1}},
    }
    manifest = SimpleNamespace(target={"device": "cuda"}, coverage={"kernels": kernels})
    monkeypatch.setattr(artifacts, "read", lambda folder, verify=True: manifest)
    monkeypatch.setattr(profiling, "made_of", lambda *_: None)
    onnx, folder = tmp_path / "m.onnx", tmp_path / "out"
    onnx.write_bytes(b"")
    folder.mkdir()
    done = CliRunner().invoke(command, [str(onnx), "--artifact", str(folder)])
    assert done.exit_code == 0, done.output
    assert done.output.index("dense") < done.output.index("conv")
    assert "/a +1" in done.output
    assert "Nothing was run" in done.output
    assert "55.6%" in done.output
    done = CliRunner().invoke(command, [str(onnx), "--artifact", str(folder), "--json"])
    assert [each["name"] for each in json.loads(done.output)["guessed"]] == ["dense", "conv"]
    done = CliRunner().invoke(command, [str(onnx), "--artifact", str(folder), "--report", "r"])
    assert done.exit_code == 2
    assert "are for a CPU's artifact" in done.output
    kernels.clear()
    done = CliRunner().invoke(command, [str(onnx), "--artifact", str(folder)])
    assert "there is nothing to rank" in done.output
