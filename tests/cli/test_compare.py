from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import fake_board
import numpy as np
import pytest
import toys

QUICK = ("--seconds", "0.1", "--rounds", "2", "--processes", "1", "--threads", "1")


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return toys.onnx_file(tmp_path / "m.onnx")


def test_an_onnx_file_alone_is_measured_in_onnx_runtime(
    tvmkd: Any, onnx: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "result.json"
    done = tvmkd("compare", onnx, *QUICK, "-o", out, "--json")
    assert done.code == 0
    printed, written = json.loads(done.out), json.loads(out.read_text())
    assert printed == written
    assert [engine["name"] for engine in printed["engines"]] == ["onnxruntime"]
    assert printed["method"]["threads"] == 1
    assert tvmkd("gate", out, "--require", "onnxruntime.p50 < 10s").code == 0


def test_a_named_engine_without_what_it_needs_is_an_error(tvmkd: Any, onnx: Path) -> None:
    done = tvmkd("compare", onnx, *QUICK, "--engine", "onnxruntime", "--engine", "torch", "--json")
    assert done.code == 5
    assert done.err.strip().splitlines()[-1].startswith("tvmkd: error: engine torch cannot run: ")
    assert "--checkpoint" in done.err


def test_given_inputs_are_used(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, x=np.ones((1, 8), np.float32))
    done = tvmkd("compare", onnx, *QUICK, "--inputs", inputs, "--json")
    assert json.loads(done.out)["method"]["seed"] is None
    np.savez(inputs, x=np.ones((1, 9), np.float32))
    done = tvmkd("compare", onnx, *QUICK, "--inputs", inputs)
    assert done.code == 4
    assert "the model takes [1, 8]" in done.line
    inputs.write_bytes(b"PK no")
    assert "not an .npz of arrays" in tvmkd("compare", onnx, "--inputs", inputs).line


def test_a_free_size_must_be_given(tvmkd: Any, tmp_path: Path) -> None:
    free = toys.onnx_file(tmp_path / "free.onnx", shape=(1, "rows", 8))
    done = tvmkd("compare", free, *QUICK)
    assert done.code == 4
    assert "--dim rows=" in done.line
    done = tvmkd("compare", free, *QUICK, "--dim", "rows=2")
    assert done.code == 0
    assert "is free" not in done.err
    assert tvmkd("compare", free, *QUICK, "--dim", "rows=x").code == 2


def test_a_free_batch_is_said_unless_it_is_given(
    tvmkd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvmkd import bench
    from tvmkd.base.errors import InputError

    free = toys.onnx_file(tmp_path / "free.onnx", shape=("batch", 8))

    def measured(*_: object, **__: object) -> None:
        raise InputError("measured")

    monkeypatch.setattr(bench, "compare", measured, raising=False)
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, x=np.ones((2, 8), np.float32))
    line = "batch is free: batch=1 is used (--dim batch=N for another)"
    for given, count in (([], 1), (["--dim", "batch=2"], 0), (["--inputs", inputs], 0)):
        done = tvmkd("compare", free, *QUICK, *given)
        assert done.line == "measured"
        assert done.err.count(line) == count, done.err


@pytest.mark.parametrize("option", [[], ["--artifact"], ["--checkpoint"], ["--inputs"]])
def test_missing_files_are_bad_input(
    tvmkd: Any, onnx: Path, tmp_path: Path, option: list[str]
) -> None:
    gone = tmp_path / "gone"
    done = tvmkd("compare", *([onnx, *option, gone] if option else [gone]))
    assert done.code == 4
    assert done.line.startswith(f"{gone}: there is no such ")


def test_an_unknown_engine_is_wrong_usage(tvmkd: Any, onnx: Path) -> None:
    done = tvmkd("compare", onnx, "--engine", "onnxruntim")
    assert done.code == 2
    assert 'no engine "onnxruntim"; did you mean "onnxruntime"? (known: torch, ' in done.line


def test_builds_and_graphs_are_for_those_who_have_them(
    tvmkd: Any, onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvmkd.bench.engines.base import Engine

    done = tvmkd("compare", onnx, *QUICK, "--builds", "3", "--engine", "onnxruntime")
    assert done.code == 2
    assert "3 builds of nothing: onnxruntime are not built here" in done.line
    assert tvmkd("compare", onnx, *QUICK, "--builds", "0").code == 2
    done = tvmkd("compare", onnx, *QUICK, "--cuda-graph", "--engine", "onnxruntime")
    assert done.code == 2
    assert "no engine here runs on a GPU" in done.line
    monkeypatch.setattr(Engine, "lacks", lambda name: None)
    names = ("--engine", "tensorrt", "--engine", "onnxruntime:cuda")
    done = tvmkd("compare", onnx, *QUICK, "--cuda-graph", *names)
    assert done.code == 2
    assert "onnxruntime:cuda cannot run through one" in done.line


def test_a_board_over_ssh_is_asked_for_in_the_right_words(
    tvmkd: Any, onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tvmkd("compare", onnx, "--ssh", "-oProxyCommand=x")
    assert done.code == 2
    assert "give USER@HOST" in done.line
    fake_board.plant(tmp_path / "nano", Path(sys.executable), monkeypatch)
    done = tvmkd("compare", onnx, "--ssh", "user@nano", "--engine", "torch")
    assert done.code == 2
    assert "engine torch cannot run on a board: tvm engines do over RPC" in done.line


def test_without_a_gpu_or_a_board_it_ends_before_any_work(
    tvmkd: Any, onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvmkd import bench
    from tvmkd.tensorrt import device

    monkeypatch.setattr(device, "find", lambda: None)
    monkeypatch.setattr(bench, "compare", None, raising=False)
    done = tvmkd("compare", onnx, "--engine", "tensorrt", "--engine", "onnxruntime:cuda")
    assert done.code == 5
    assert "tensorrt needs an NVIDIA GPU" in done.line
    fake_board.plant(tmp_path / "nano", Path("/bin/false"), monkeypatch)
    monkeypatch.setenv("SSH_SAYS", "ssh: Could not resolve hostname nano")
    done = tvmkd("compare", onnx, "--ssh", "user@nano")
    assert done.code == 5
    assert "ssh user@nano: ssh: Could not resolve hostname nano" in done.line


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "Missing argument 'ONNX', or --suite NAME"),
        (("m.onnx", "--suite", "edge10", "-o", "out"), "give a model or --suite, not both"),
        (("--suite", "edge10"), "--suite goes with -o FOLDER"),
        (("--suite", "edge10", "-o", "out", "--ssh", "a@b"), "--ssh does not go with --suite"),
        (("--suite", "edge10", "-o", "out", "--untuned", "u"), "--untuned does not go with"),
        (("m.onnx", "--trials", "3"), "--trials goes with --suite"),
        (("m.onnx", "--minutes", "3"), "--minutes goes with --suite"),
        (("m.onnx", "--device", "cpu", "--emulate"), "--device is of this machine"),
    ],
)
def test_options_of_a_suite_and_of_a_model(tvmkd: Any, words: tuple[str, ...], why: str) -> None:
    done = tvmkd("compare", *words)
    assert done.code == 2
    assert why in done.err


def test_a_suite_of_ones_own(tvmkd: Any, onnx: Path, tmp_path: Path) -> None:
    suite, out = tmp_path / "mine.toml", tmp_path / "out"
    suite.write_text('[[network]]\nname = "small"\nonnx = "m.onnx"\n')
    words = ("compare", "--suite", suite, "-o", out, *QUICK, "--engine", "onnxruntime")
    done = tvmkd(*words, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads((out / "suite.json").read_text())
    assert "onnxruntime alone, on 1 network" in (out / "index.html").read_text()
    again = tvmkd(*words)
    assert again.code == 0
    assert "onnxruntime: 1.00 of the fastest's time (mean of 1 networks" in again.out
    assert "small (1 of 1)" not in again.err  # it is done already
    onnx.write_bytes(b"no model")
    assert tvmkd(*words).code == 4
