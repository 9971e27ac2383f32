"""Streams over an ``ssh`` that is a shell of this machine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fake_nano
import pytest
import toy
from detector_files import onnx_detector, scene
from PIL import Image

from tvmkd import targets
from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.base.toolchain import zig
from tvmkd.deploy.streaming import on_board
from tvmkd.deploy.streaming.on_board import run
from tvmkd.deploy.streaming.plan import Plan


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        zig()
    except MissingError as error:
        pytest.skip(str(error))
    return toy.artifact_folder(tmp_path_factory.mktemp("made") / "toy", targets.load("host"))


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board's folder, and an ``ssh`` that reaches it; power commands are written down."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(
        "#!/bin/sh\n"
        'while [ "$1" != "--" ]; do shift; done\n'
        'case "$2" in *gone) echo "No route to host" >&2; exit 255;; esac\n'
        f'TVMKD_BOARD_ROOT="{tmp_path / "board"}" exec sh -c "$3"\n'
    )
    for name in ("nvpmodel", "jetson_clocks"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path / "power"}"\n')
    for path in folder.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return fake_nano.plant(tmp_path / "board", celsius=55.5)


def plan(path: Path, **fields: Any) -> Plan:
    given = {"models": (str(path),), "fps": 50.0, "budget_ms": 500.0, "seconds": 0.6}
    return Plan(**{**given, **fields})


def test_a_library_streams_there_and_the_result_is_one_of_here(
    artifact: Path, board: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    wanted = [["nvpmodel", "-m", "0"], ["jetson_clocks"]]
    result, rows = run(
        plan(artifact),
        "me@nano",
        power="max",
        power_commands=wanted,
        told=lambda event, data: told.append(event),
    )
    assert told[0] == "ready"
    assert 1 <= len(rows) <= 29
    assert result.processed == len(rows)
    assert result.released == result.processed + result.dropped
    assert result.celsius() == (55.5, 55.5)
    assert result.states[0].watts == 2.346
    assert (result.machine["cpu"], result.machine["system"]) == (
        "NVIDIA Jetson Nano Developer Kit",
        "me@nano",
    )
    assert result.models[0].steps.startswith("on the host: no image")
    assert "sent to the board first" in result.settings.source
    power = (tmp_path / "power").read_text().splitlines()
    assert [line.split()[:2] for line in power] == [
        ["nvpmodel", "-m"],
        ["jetson_clocks", "--store"],
        ["jetson_clocks"],
        ["jetson_clocks", "--restore"],
        ["nvpmodel", "-m"],
    ]
    assert power[-1] == "nvpmodel -m 1"
    folder = Path(power[1].split()[-1]).parent
    assert folder.name.startswith("tvmkd-stream-")
    assert not folder.exists(), "the board's temporary folder is removed"


def test_ctrl_c_ends_it_with_what_there_is(artifact: Path, board: Path) -> None:
    told: list[str] = []

    def interrupt(event: str, data: object) -> None:
        if event == "progress" and "progress" not in told:
            threading.Timer(0.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        told.append(event)

    result, rows = run(plan(artifact, seconds=300.0), "me@nano", told=interrupt)
    assert result.interrupted
    assert result.seconds < 200
    assert len(rows) >= 1


def test_what_the_board_refuses_is_one_line(artifact: Path, board: Path) -> None:
    with pytest.raises(MissingError, match=r"on the board: --cpu: one of these CPUs"):
        run(plan(artifact, cpus=(999,)), "me@nano")
    with pytest.raises(MissingError, match="me@gone: No route to host"):
        run(plan(artifact), "me@gone")


def test_what_cannot_be_streamed_there(artifact: Path, board: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="run tvmkd-stream on the board for a camera"):
        run(plan(artifact, source="raw", input=str(tmp_path / "pipe")), "me@nano")
    with pytest.raises(InputError, match="not an artifact"):
        run(plan(tmp_path), "me@nano")


def test_a_ladder_of_libraries(artifact: Path, board: Path, tmp_path: Path) -> None:
    second = toy.artifact_folder(tmp_path / "second", targets.load("host"), 2)
    asked = plan(artifact, models=(str(artifact), str(second)), when_late="ladder")
    result, _ = run(asked, "me@nano")
    assert [model.path for model in result.models] == [str(artifact), str(second)]
    assert result.models[0].frames == result.processed
    other = toy.artifact_folder(tmp_path / "other", targets.load("aarch64-generic"), 1)
    with pytest.raises(UsageError, match="need one target"):
        run(plan(artifact, models=(str(artifact), str(other)), when_late="ladder"), "me@nano")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}\n",
        b"[]\n",
        b'{"columns": 9, "frames": 1}\n',
        b'{"columns": 9}\n123',
        b'{"columns": 9, "frames": 0, "models": [], "steps": []}\n',
    ],
)
def test_what_is_no_record_is_told(data: bytes) -> None:
    with pytest.raises(MissingError, match="the board sent no record"):
        on_board._read(data)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_worker")
def test_a_detector_with_its_pre_processing(tvmkd_build: Any, board: Path, tmp_path: Path) -> None:
    out = tvmkd_build(onnx_detector(tmp_path / "d.onnx"), tmp_path / "out")
    Image.fromarray(scene(64, 32)).save(tmp_path / "a.png")
    asked = plan(out, source="folder", input=str(tmp_path / "a.png"))
    result, rows = run(asked, "me@nano")
    assert result.models[0].steps == "in the library"
    stages: Mapping[str, float] = {stage.name: stage.ms.p50 for stage in result.stages}
    assert stages["pre-processing"] > 0
    assert stages["model"] > 0
    assert len(rows) >= 1


@pytest.fixture
def tvmkd_build() -> Any:
    from tvmkd import FrameOptions, api

    def build(onnx: Path, out: Path) -> Path:
        api.build(onnx, out=out, runtime="standalone", frames=FrameOptions(largest=(640, 480)))
        return out

    return build
