"""A comparison on a board over ssh: another Python with stand-ins for the board's packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import fake_board
import numpy as np
import pytest
import toys

from tvmkd.base.errors import InputError, UsageError
from tvmkd.bench import CompareOptions, EngineSpec, compare
from tvmkd.bench.engines.tensorrt_board import TensorRTBoardEngine, whole
from tvmkd.bench.schema import Comparison
from tvmkd.boards.fleet import Fleet
from tvmkd.stacks.client import StackClient


@pytest.fixture(params=fake_board.PYTHONS)
def board(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fake_board.plant(tmp_path, Path(request.param), monkeypatch)


def test_the_command_measures_there_and_gives_the_same_json(
    board: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tvmkd import cli

    onnx = toys.onnx_file(tmp_path / "m.onnx", shape=("batch", 8))
    out = tmp_path / "result.json"
    argv = ["compare", onnx, "--ssh", "user@nano", "--dim", "batch=2", "--precision", "fp16"]
    argv += ["--seconds", "0.2", "--rounds", "2", "-o", out, "--report", tmp_path / "r.html"]
    argv += ["--builds", "2"]
    assert cli.execute([str(word) for word in argv]) == 0, capfd.readouterr()
    result = Comparison.load(out)
    (engine,) = result.engines
    assert (engine.name, engine.kind, engine.precision) == ("tensorrt", "tensorrt@board", "fp16")
    assert engine.relative_error < 1e-5
    assert 0.2 <= engine.build_seconds < 60
    assert result.context.board is not None
    assert result.context.board["model"] == "NVIDIA Jetson Nano Developer Kit"
    assert result.context.cpu == "Cortex-A57"
    assert result.context.temperature_c == [41.5, 41.5]
    assert result.context.versions == {"tensorrt": "8.2.1.8"}
    assert "by the board's own clock" in result.method.measured
    assert result.context.gpu is None, "that is this machine's"
    assert (engine.device, engine.tolerance, len(engine.builds)) == ("GPU", 2e-2, 2)
    assert all((build.engine_seconds or 0) >= 0.2 for build in engine.builds), "built anew"
    assert (engine.peak_rss_bytes or 0) > 1e6
    facts = engine.facts
    assert facts["engine_from_cache"] is False
    assert facts["trtexec"]["latency_ms"]["p50"] == pytest.approx(1.375)
    assert facts["trtexec"]["runs"] >= len(engine.samples_ms) > 4
    assert facts["slowest_layers"] == [{"name": "dense", "ms": 0.75, "share": 1.0}]
    assert (facts["gpu"], facts["clock"], facts["throttled"]) == ("NVIDIA Tegra X1", "host", False)


def test_the_gpu_s_figures_are_taken_where_they_are_asked_for(board: Path, tmp_path: Path) -> None:
    onnx = toys.onnx_file(tmp_path / "m.onnx")
    x = np.ones((1, 8), np.float32)
    options = {"ssh": "user@nano", "clock": "compute", "rebuild": True}
    spec = EngineSpec("t", "tensorrt@board", onnx, options=options)
    with TensorRTBoardEngine(spec, threads=1) as engine:
        engine.prepare({"x": x})
        assert engine.times(engine.bind({"x": x}), 60, 10**10) == [10**6] * 60
        assert engine.facts()["engine_from_cache"] is False
        assert (engine.size_bytes() or 0) > 100


def test_a_board_that_is_not_there_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_board.plant(tmp_path, Path("/bin/false"), monkeypatch)
    monkeypatch.setenv("SSH_SAYS", "ssh: connect to host nano port 22: No route to host")
    onnx = toys.onnx_file(tmp_path / "m.onnx")
    spec = EngineSpec("tensorrt", "tensorrt@board", onnx, options={"ssh": "user@nano"})
    options = CompareOptions(threads=1, seconds=0.1, rounds=2)
    result = compare([spec], onnx, options=options)
    (left,) = result.left_out
    assert (left.why, "No route to host" in left.reason) == ("missing", True)
    here = EngineSpec("onnxruntime", "onnxruntime", onnx)
    with pytest.raises(UsageError, match="tensorrt run on a board and onnxruntime here"):
        compare([spec, here], onnx)


def test_a_model_is_sent_with_its_weights(tmp_path: Path) -> None:
    from onnx import ModelProto, load, save

    path = tmp_path / "m.onnx"
    model = load(toys.onnx_file(tmp_path / "in.onnx"))
    save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    names, data = whole(path)
    assert names == ["y"]
    assert len(ModelProto.FromString(data).graph.initializer[0].raw_data) == 8 * 8 * 4
    (tmp_path / "w.bin").unlink()
    with pytest.raises(InputError, match="cannot be sent to a board"):
        whole(path)


def test_a_nano_s_options_are_json(tmp_path: Path) -> None:
    spec = EngineSpec("t", "tensorrt@board", tmp_path / "m.onnx", options={"ssh": "user@nano"})
    assert EngineSpec.from_dict(json.loads(json.dumps(spec.to_dict()))).kind == "tensorrt@board"


@pytest.mark.rpc
@pytest.mark.timeout(240)
def test_tvm_and_tensorrt_take_turns_on_one_board(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    relax_stack: StackClient,
    fleet: Fleet,
) -> None:
    from tvmkd import cli, targets

    onnx, out = toys.onnx_file(tmp_path / "m.onnx"), tmp_path / "result.json"
    relax_stack.build(onnx, targets.load("host").to_dict(), [], tmp_path / "host")
    fake_board.plant(tmp_path / "nano", Path(sys.executable), monkeypatch)
    argv = ["compare", onnx, "--artifact", tmp_path / "host", "--ssh", "user@nano"]
    argv += ["--rpc-tracker", f"{fleet.host}:{fleet.port}", "--rpc-key", fleet.key]
    argv += ["--seconds", "0.2", "--rounds", "2", "-o", out]
    assert cli.execute([str(word) for word in argv]) == 0, capfd.readouterr()
    result = Comparison.load(out)
    assert result.left_out == []
    assert {engine.name: engine.facts.get("clock") for engine in result.engines} == {
        "tvm": None,
        "tensorrt": "host",
    }
    assert result.verdict.fastest == "tvm", "the stand-in computes in pure Python"
