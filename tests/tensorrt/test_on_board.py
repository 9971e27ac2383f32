"""The script for the board, run by Python 3.6 if it is installed."""

from __future__ import annotations

import ast
import base64
import json
import subprocess
from pathlib import Path

import fake_board
import numpy as np
import pytest
import toys

from tvmkd.base.errors import InputError, MissingError, TvmkdError
from tvmkd.tensorrt import on_board
from tvmkd.tensorrt.runner import Layer
from tvmkd.tensorrt.ssh import RemoteEngine

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 8)
WEIGHTS = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)


def test_the_script_is_python_3_6_with_the_standard_library() -> None:
    source = Path(on_board.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    names = {
        *(
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        ),
        *(str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)),
    }
    assert names == {
        *("base64", "glob", "hashlib", "json", "os", "platform", "re", "resource", "sys"),
        *("time", "traceback", "typing", "tensorrt", "pycuda.driver"),
    }
    # The script is one argument of a command line; Linux allows 128 KiB.
    assert len(source) < 100_000


@pytest.fixture(params=fake_board.PYTHONS)
def python(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(params=["8", "10"])
def board(
    request: pytest.FixtureRequest, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    fake_board.plant(tmp_path, python, monkeypatch, request.param)
    return str(request.param)


def test_an_engine_is_built_run_and_timed_on_the_board(board: str, tmp_path: Path) -> None:
    onnx = toys.onnx_file(tmp_path / "m.onnx").read_bytes()
    with RemoteEngine("user@nano") as engine:
        assert engine.facts["version"].startswith(board)
        assert engine.facts["gpu"] == "NVIDIA Tegra X1"
        assert (engine.facts["compute_capability"], engine.facts["cuda"]) == ("5.3", "10.2")
        told = engine.facts["board"]
        assert told["model"] == "NVIDIA Jetson Nano Developer Kit"
        assert (told["cpu"], told["l4t"], told["nvpmodel"]) == ("Cortex-A57", "R32.7.4", "5W")
        assert told["memory_bytes"] == 4059504 * 1024
        done = engine.prepare(onnx, "fp16", workspace_mib=64)
        assert (done["cached"], done["layers"]) == (False, 1)
        assert done["seconds"] >= 0.2
        assert done["size_bytes"] > 100
        for x in (X, X + 1):
            (name, y), *others = engine.run({"x": x}).items()
            assert (name, others) == ("y", [])
            np.testing.assert_allclose(y, np.maximum(x @ WEIGHTS, 0), rtol=1e-5)
        timings, telemetry = engine.time(5, limit_s=10)
        assert len(timings) == 5
        for timing in timings:
            assert timing[:3] == pytest.approx((0.25, 1.0, 0.125))
            assert timing.latency == pytest.approx(1.375)
            assert 0 < timing.enqueue < timing.host
        assert len(engine.time(10_000, limit_s=1e-9)[0]) == 1
        assert (telemetry["celsius"], telemetry["throttled"]) == (41.5, False)
        assert engine.profile(3) == [Layer("dense", 0.75)]
        # Runs after a profile work as before it.
        assert engine.time(1, 1.0)[0][0].compute == pytest.approx(1.0)


def test_the_same_engine_is_built_once(board: str, tmp_path: Path) -> None:
    onnx = toys.onnx_file(tmp_path / "m.onnx").read_bytes()
    with RemoteEngine("user@nano") as engine:
        assert not engine.prepare(onnx)["cached"]
        assert engine.prepare(onnx)["cached"]
        assert not engine.prepare(onnx, "fp16")["cached"]
        assert not engine.prepare(onnx, workspace_mib=8)["cached"]
        assert not engine.prepare(onnx + b"\0")["cached"]
        assert not engine.prepare(onnx, rebuild=True)["cached"]
    (first, *_) = (tmp_path / "cache" / "tvmkd" / "engines").glob("*.plan")
    for path in first.parent.iterdir():
        assert path.suffix == ".plan"
        path.write_bytes(b"half of an engine")
    with RemoteEngine("user@nano") as engine:
        assert not engine.prepare(onnx)["cached"], "a damaged one is built again"
        assert engine.prepare(onnx)["cached"]


def test_free_sizes_are_built_for_the_given_shapes(board: str, tmp_path: Path) -> None:
    onnx = toys.onnx_file(tmp_path / "m.onnx", shape=("batch", 8)).read_bytes()
    x = np.vstack([X, X + 1, X - 1])
    with RemoteEngine("user@nano") as engine:
        with pytest.raises(InputError, match=r"builds no engine .*no profile"):
            engine.prepare(onnx)
        engine.prepare(onnx, shapes={"x": (3, 8)})
        (y,) = engine.run({"x": x}).values()
        np.testing.assert_allclose(y, np.maximum(x @ WEIGHTS, 0), rtol=1e-4, atol=1e-6)
        assert engine.profile(1)


def test_errors_of_the_board_are_one_line(board: str, tmp_path: Path) -> None:
    onnx = toys.onnx_file(tmp_path / "m.onnx").read_bytes()
    with RemoteEngine("user@nano") as engine:
        with pytest.raises(InputError, match=r"cannot read the model: .*No importer .*Foo"):
            engine.prepare(b"Foo")
        engine.prepare(onnx)
        with pytest.raises(InputError, match="inputs of the engine are x, not z"):
            engine.run({"z": X})
        with pytest.raises(InputError, match="input x of the engine is float32, not int32"):
            engine.run({"x": X.astype(np.int32)})
        with pytest.raises(InputError, match=r"does not take x as \[2, 8\]"):
            engine.run({"x": np.vstack([X, X])})
        big = toys.onnx_file(tmp_path / "b.onnx", shape=("batch", 8)).read_bytes()
        engine.prepare(big, shapes={"x": (1 << 16, 8)})
        with pytest.raises(TvmkdError, match="MemoryError: cuMemAlloc failed: out of memory"):
            engine.run({"x": np.zeros((1 << 16, 8), np.float32)})
        engine.prepare(onnx)
        assert engine.run({"x": X})


def test_the_gpu_is_released_when_stdin_closes(python: Path, tmp_path: Path) -> None:
    onnx = base64.b64encode(toys.onnx_file(tmp_path / "m.onnx").read_bytes()).decode()
    (tmp_path / "w.json").write_text(json.dumps(WEIGHTS.tolist()))
    prepare = {"onnx": onnx, "precision": "fp32", "shapes": {}, "workspace_mib": None}
    data = base64.b64encode(X.tobytes()).decode()
    inputs = {"x": {"shape": [1, 8], "dtype": "float32", "data": data}}
    calls = {
        "hello": {},
        "prepare": {**prepare, "rebuild": True},
        "run": {"inputs": inputs},
        "time": {"count": 1, "limit_s": 1},
    }
    lines = [
        json.dumps({"id": number, "method": method, "params": params})
        for number, (method, params) in enumerate(calls.items())
    ]
    environment = {
        "PYTHONPATH": str(fake_board.PACKAGES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "STANDIN_WEIGHTS": str(tmp_path / "w.json"),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [python, on_board.__file__],
        input="\n".join(lines) + "\n",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [sorted(answer) for answer in answers] == [["id", "result"]] * 4
    # The fake context counts the objects that outlive it, and prints as C++ does.
    assert done.returncode == 0, done.stderr
    assert "this line goes to C++'s stdout" in done.stderr


def test_a_board_without_packages_or_gpu_says_how_to_get_them(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_board.plant(tmp_path, python, monkeypatch)
    monkeypatch.setenv("STANDIN_GPU", "none")
    with pytest.raises(MissingError, match="the board finds no GPU"):
        RemoteEngine("user@nano")
    monkeypatch.setenv("BOARD_PACKAGES", str(tmp_path))
    with pytest.raises(MissingError, match=r"has no tensorrt .*python3-libnvinfer"):
        RemoteEngine("user@nano")
    (tmp_path / "tensorrt.py").write_text("")
    with pytest.raises(MissingError, match=r"has no pycuda .*pip3 install"):
        RemoteEngine("user@nano")
