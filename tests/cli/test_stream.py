from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from detector_files import onnx_detector, scene
from PIL import Image

from tvmkd.deploy.streaming import result


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return onnx_detector(tmp_path / "d.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(scene()).save(folder / "a.png")
    return folder


def test_a_table_a_result_a_page_and_the_gate(
    tvmkd: Any, model: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "streamed"
    short = ("--fps", "50", "--seconds", "0.6", "--threads", "1")
    done = tvmkd("stream", model, "--input", photos, "--budget", "5s", *short, "-o", out)
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0][:3] == ["ms", "a", "frame"]
    assert rows[5][:3] == ["release", "to", "end"]
    made = result.load(out / "stream.json")
    assert made.settings.source == f"1 pictures of {photos}"
    assert "Latency over time" in (out / "stream.html").read_text()
    passed = tvmkd("gate", out / "stream.json", "--require", "stream.worst < 5s")
    assert (passed.code, passed.out[:4]) == (0, "pass")
    failed = tvmkd("gate", out / "stream.json", "--require", "stream.frames < 1")
    assert (failed.code, failed.out[:4]) == (1, "FAIL")


def test_json_and_a_missed_budget(tvmkd: Any, model: Path) -> None:
    short = ("--fps", "50", "--seconds", "0.4", "--threads", "1")
    done = tvmkd("stream", model, *short, "--budget", "1us", "--json")
    assert done.code == 1
    data = json.loads(done.out)
    assert data["misses"] == data["released"] > 0
    assert data["settings"]["source"] == "random pixels, 640x480"
    # Without a budget of one's own the time between two frames is shown, and is no requirement.
    free = tvmkd("stream", model, *short, "--json")
    assert free.code == 0
    assert json.loads(free.out)["settings"]["budget_ms"] == 20.0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--minutes", "1", "--seconds", "3"], "not both"),
        (["--size", "640"], "not WIDTHxHEIGHT"),
        (["--budget", "30"], "is not a time"),
        (["--fps", "0"], "--fps"),
        (["--power", "max"], "an ONNX file names no target"),
        (["--when-late", "exit", "--seconds", "1"], "has no early exits; leave the option out"),
        (["--when-late", "ladder"], "give the smaller models"),
        (["--priority", "fast"], "give fifo:1"),
        (["--cpu", "x"], "give CPUs"),
        (["--source", "raw"], "give --input"),
        (["--source", "random", "--input", "x"], "takes no --input"),
    ],
)
def test_wrong_usage(tvmkd: Any, model: Path, options: list[str], line: str) -> None:
    done = tvmkd("stream", model, *options)
    assert done.code == 2
    assert line in done.err


def test_bad_input_and_what_is_missing(tvmkd: Any, model: Path, tmp_path: Path) -> None:
    none = tvmkd("stream", tmp_path / "none")
    assert (none.code, none.line) == (4, f"{tmp_path / 'none'}: there is no such artifact")
    empty = tvmkd("stream", tmp_path)
    assert empty.code == 4
    assert "not an artifact" in empty.line
    far = tvmkd("stream", model, "--cpu", "999", "--seconds", "1")
    assert far.code == 5
    assert far.line.startswith("--cpu: CPU 999 cannot be used here")
    file = tmp_path / "file"
    file.write_text("")
    assert tvmkd("stream", model, "-o", file).code == 4


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_stream_with_its_result(
    model: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "streamed"
    raw = ("--source", "raw", "--input", "-", "--size", "8x4", "--budget", "1s", "--threads", "1")
    command = [sys.executable, "-m", "tvmkd", "stream", str(model), *raw, "-o", str(out)]
    process = subprocess.Popen(
        [*command, "--minutes", "10"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    # The frames of a pipe are taken once the stream runs: the pipe is full until then.
    frames = b"\0" * (8 * 4 * 3)
    os.write(process.stdin.fileno(), frames * 30)
    os.set_blocking(process.stdin.fileno(), False)
    written = 0
    for _ in range(100_000):
        try:
            written += os.write(process.stdin.fileno(), frames)
        except BlockingIOError:
            if written:
                break
    os.set_blocking(process.stdin.fileno(), True)
    os.write(process.stdin.fileno(), frames * 20)  # returns once some were taken
    process.send_signal(number)
    said, told = process.communicate(timeout=120)
    assert process.returncode == code, told
    assert "ended early" in said
    made = result.load(out / "stream.json")
    assert made.interrupted
    assert made.processed >= 1
