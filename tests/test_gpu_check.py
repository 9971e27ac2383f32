"""What is done on the day there is a GPU, rehearsed with a driver that computes on the CPU."""

from __future__ import annotations

import configparser
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import by_path
import cuda_compilers
import fake_driver
import fake_smi
import pytest
import test_cuda

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "gpu_check.py"
check = by_path.module("scripts/gpu_check.py", "gpu_check_script")
MISSING = cuda_compilers.missing()


def wheels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two wheels as `--pack` leaves them, one of them in three parts."""
    monkeypatch.setattr(check, "PART", 100)
    folder.mkdir()
    lines = []
    for name, size in (("small-1-py3-none-any.whl", 40), ("large-1-py3-none-any.whl", 250)):
        whole = folder / "whole"
        whole.write_bytes(os.urandom(size))
        path = whole.rename(folder.parent / name)
        lines.append(f"{check.digest(path)}  {name}")
        check.split(path, folder)
    (folder / check.SUMS).write_text("\n".join(lines) + "\n")
    return folder


def test_wheels_are_cut_and_put_together_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = wheels(tmp_path / "packed", monkeypatch)
    assert max(path.stat().st_size for path in packed.glob("*.whl*")) <= 100
    assert len(list(packed.glob("large*"))) == 3
    whole = tmp_path / "again"
    assert len(check.joined(packed, whole)) == 2
    for path in whole.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    # What is there already is not read again.
    for part in packed.glob("large*"):
        part.unlink()
    (whole / "other-1-py3-none-any.whl").write_bytes(b"of an earlier time")
    assert {path.name for path in whole.iterdir()} > set(check.joined(packed, whole))
    assert len(list(whole.iterdir())) == 2


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda folder: (folder / check.SUMS).unlink(), "holds no SHA256SUMS: make it with --pack"),
        (lambda folder: next(folder.glob("*part-001")).write_bytes(b"x"), "copy them again"),
        (lambda folder: next(folder.glob("*part-002")).unlink(), "copy them again"),
        (lambda folder: next(folder.glob("small*")).unlink(), "is missing: copy it again"),
    ],
)
def test_wheels_that_arrived_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, why: str
) -> None:
    packed = wheels(tmp_path / "packed", monkeypatch)
    damage(packed)
    with pytest.raises(check.Failed, match=why):
        check.joined(packed, tmp_path / "again")


def run(
    out: Path, *words: str, code: int | None = None, **env: str
) -> tuple[dict[str, Any], list[str]]:
    """The script as a user starts it: what it wrote, and its lines."""
    command = [sys.executable, os.fspath(SCRIPT), "-o", os.fspath(out), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **env}, timeout=500
    )
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return json.loads((out / "gpu_check.json").read_text()), done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "wheels: FAILED: give --wheels FOLDER"),
        (("--wheels", "nowhere"), "holds no SHA256SUMS"),
    ],
)
def test_without_wheels_it_ends_at_once(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    found, lines = run(tmp_path / "out", *words, code=1)
    assert why in lines[0]
    assert list(found["steps"]) == ["wheels"]
    assert len(lines) == 1


def test_a_folder_in_which_another_one_works(tmp_path: Path) -> None:
    with check.alone(tmp_path):
        words = [sys.executable, SCRIPT, "--python", sys.executable, "-o", tmp_path]
        done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"gpu_check: {tmp_path}: another gpu_check works there\n"


def test_what_can_be_packed_is_an_extra() -> None:
    extras = configparser.ConfigParser()
    extras.read(ROOT / "setup.cfg")
    assert {*check.GROUPS, *check.EXTRAS} <= set(extras["options.extras_require"])


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_without_a_gpu_there_is_a_page_that_says_so(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found, lines = run(out, "--python", sys.executable, code=1)
    assert "FAILED: no NVIDIA driver (libcuda.so.1)" in lines[0]
    assert list(found["steps"]) == ["gpu"]
    assert lines[-1] == f"page: {out}/index.html"
    assert "no NVIDIA driver" in (out / "index.html").read_text()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a machine with a GPU: its driver, nvidia-smi, and TensorRT."""
    folder = tmp_path / "driver-folder"
    folder.mkdir()
    driver = fake_driver.built(folder)
    fake_smi.plant(tmp_path, monkeypatch, uuid="GPU-07070707-0707-0707-0707-070707070707")
    return {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": os.fspath(driver),
        "FAKE_CUDA_COMPUTES": "1",
        "PYTHONPATH": os.pathsep.join(
            os.fspath(ROOT / "tests" / "tensorrt" / name) for name in ("standin", ".")
        ),
    }


def suite(folder: Path, *names: str) -> Path:
    text = ""
    for name in names:
        test_cuda.network(folder / f"{name}.onnx")
        text += f'[[network]]\nname = "{name}"\nonnx = "{name}.onnx"\n'
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.slow
@pytest.mark.rpc
@pytest.mark.timeout(400)
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_the_whole_day_rehearsed(tmp_path: Path, machine: dict[str, str]) -> None:
    """Killed in the middle of the suite and gone on with."""
    out, mine = tmp_path / "out", suite(tmp_path, "one", "two")
    words = ["--python", sys.executable, "--minutes", "6", "--suite", os.fspath(mine)]
    words += ["--seconds", "0.1", "--tests=tests/stacks/standalone/test_cuda_library.py"]
    words += ["--suite-words=--rounds=2", "--suite-words=--processes=1"]
    command = [sys.executable, os.fspath(SCRIPT), "-o", os.fspath(out), *words]
    first = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **machine}
    )
    try:
        state = out / "suite" / "suite.json"
        deadline = time.monotonic() + 300
        while not (state.exists() and '"done"' in state.read_text()):
            assert first.poll() is None, first.stdout and first.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    found, lines = run(out, *words, code=0, **machine)
    assert lines[0].startswith("gpu: done before: Fake Tegra X1, compute capability 5.3")
    assert lines[1].startswith("tests: done before: 3 passed, 0 failed, 0 skipped")
    assert lines[2].startswith("suite: 2 of 2 networks compared")
    assert lines[3] == f"page: {out}/index.html"
    assert [step["state"] for step in found["steps"].values()] == ["ok"] * 3
    text = (out / "index.html").read_text()
    words_there = ("Fake Tegra X1", "tvm:untuned", "no kernel is tuned for cuda", "3 passed")
    compared = json.loads((out / "suite" / "one" / "comparison.json").read_text())
    engines = {engine["name"]: engine for engine in compared["engines"]}
    # The regions' engine is built by the same TensorRT, and so is that of the whole network.
    assert {"tensorrt", "tvm+tensorrt", "tvm:untuned"} <= set(engines)
    assert engines["tensorrt"]["facts"]["version"] == "10.13.0.35"
    assert all(engine["relative_error"] < 1e-3 for engine in engines.values())
    for word in (*words_there, "NVIDIA Stand-in"):
        assert word in text, word
