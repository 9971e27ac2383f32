"""``tvmkd-stream`` with a model written by hand, whose frames say how long it takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_library
import sanitized

from tvmkd import targets
from tvmkd.boards import emulate
from tvmkd.deploy import native_programs
from tvmkd.deploy.streaming.record import COLUMNS, Table, column, latency_ms, stage_ms

MS = 1_000_000
FRAME = 40  # bytes: four floats and three whole numbers


def frame(ms: float = 0.0) -> bytes:
    """A frame on which the model sleeps for so many milliseconds."""
    x = np.array([1001 if ms else 1, ms, 0, 0], np.float32)
    return x.tobytes() + np.array([1, 2, 3], np.int64).tobytes()


class Stream:
    """One way to run the program with the sample."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def start(self, *options: object, **more: Any) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen([*self.words, *map(str, options)], **pipes, **more)

    def __call__(self, *options: object, given: bytes = b"") -> tuple[dict[str, Any], Table]:
        process = self.start(*options)
        out, said = process.communicate(given, timeout=120)
        assert process.returncode == 0, said
        return parsed(out)

    def refuses(self, code: int, *options: object) -> str:
        """Runs it; it must print one line, and nothing on stdout."""
        process = self.start(*options)
        out, said = process.communicate(timeout=60)
        lines = [line for line in said.decode().splitlines() if not line.startswith("{")]
        assert (process.returncode, out, len(lines)) == (code, b"", 1), said
        return lines[0].removeprefix("tvmkd-stream: ")


def parsed(out: bytes) -> tuple[dict[str, Any], Table]:
    line, _, rest = out.partition(b"\n")
    header: dict[str, Any] = json.loads(line)
    table: Table = np.frombuffer(rest, np.int64).reshape(-1, len(COLUMNS))
    assert header["frames"] == len(table)
    assert (np.diff(table[:, 1:7], axis=1) >= 0).all()
    return header, table


def made(target: targets.Target, folder: Path, *flags: str) -> Stream:
    library = sample_library.shared(target, folder / "libsample.so", *flags)
    program = native_programs.stream_program(target)
    return Stream([*sample_library.runner(target), str(program), str(library)])


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return made(targets.load("host"), tmp_path_factory.mktemp("host"))


@pytest.fixture(
    scope="module", params=["dynamic", "static", pytest.param("board", marks=pytest.mark.board)]
)
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stream:
    """Every kind of program, with the sample."""
    kind: str = request.param
    if kind == "board" and emulate.why_not() is not None:
        pytest.skip(str(emulate.why_not()))
    target = targets.load("jetson-nano" if kind == "board" else "host")
    folder = tmp_path_factory.mktemp(kind)
    if kind != "static":
        return made(target, folder)
    archive = sample_library.archive(target, folder / "libsample.a")
    return Stream([str(native_programs.stream_program(target, archive=archive))])


def test_frames_are_released_at_absolute_times(each: Stream) -> None:
    header, rows = each("--fps", 100, "--duration", 0.5)
    (model,) = header["models"]
    assert (model["name"], model["exits"], model["preprocessing"]) == ("sample", 1, False)
    assert model["reference_ms"] > 0
    assert (header["interrupted"], header["steps"]) == (False, [])
    expected = header["begun"] + (column(rows, "number") + 1) * 10 * MS
    assert (column(rows, "release") == expected).all()
    assert 1 <= len(rows) <= 49
    assert (column(rows, "begin") >= column(rows, "release")).all()
    assert set(column(rows, "rung").tolist()) == set(column(rows, "exit").tolist()) == {0}


def test_frames_that_came_during_a_slow_one_are_dropped(stream: Stream, tmp_path: Path) -> None:
    path = tmp_path / "frames"
    path.write_bytes(frame() * 3 + frame(75) + frame() * 96)
    _, rows = stream("--fps", 50, "--duration", 1, "--frames", path)
    numbers = column(rows, "number").tolist()
    slow = numbers.index(3)
    assert latency_ms(rows)[slow] >= 75
    assert stage_ms(rows)["model"][slow] >= 75
    # Three more were released meanwhile; only the newest was run, and it was late from the start.
    assert numbers[slow + 1] >= 6
    assert not {4, 5} & set(numbers)


def test_an_exit_is_taken_for_lack_of_time_where_that_is_asked_for(tmp_path: Path) -> None:
    exits = made(targets.load("host"), tmp_path, "-DSAMPLE_EXITS")
    short = ("--fps", 50, "--duration", 0.4, "--budget", 0.9)
    header, rows = exits(*short, "--when-late", "exit")
    assert header["models"][0]["exits"] == 2
    assert set(column(rows, "exit").tolist()) == {0}
    assert set(column(exits(*short)[1], "exit").tolist()) == {1}
    long = ("--fps", 50, "--duration", 0.4, "--budget", 900, "--when-late", "exit")
    assert set(column(exits(*long)[1], "exit").tolist()) == {1}


def test_a_late_model_is_replaced_and_comes_back(stream: Stream, tmp_path: Path) -> None:
    small = sample_library.shared(
        targets.load("host"), tmp_path / "libsmall.so", "-DSAMPLE_NAME=small"
    )
    path = tmp_path / "frames"
    path.write_bytes(frame(40) * 3 + frame() * 997)
    ladder = ("--when-late", "ladder", "--calm", 0.3, "--budget", 30)
    options = (small, *ladder, "--fps", 20, "--duration", 2, "--frames", path)
    header, rows = stream(*options)
    assert [model["name"] for model in header["models"]] == ["sample", "small"]
    # The first frames of the file are those of the warm-up and of the stream.
    down, up = header["steps"][:2]
    assert (down["before"], down["after"]) == (0, 1)
    assert down["why"].endswith("frames were late")
    assert (up["before"], up["after"]) == (1, 0)
    assert up["why"].startswith("calm for ")
    rungs = column(rows, "rung").tolist()
    assert rungs[0] == 0
    assert 1 in rungs
    assert rungs[-1] == 0


def test_models_that_take_other_frames_are_no_ladder(stream: Stream, tmp_path: Path) -> None:
    large = sample_library.shared(targets.load("host"), tmp_path / "liblarge.so", "-DSAMPLE_SIZE=8")
    assert "takes other frames than" in stream.refuses(4, large, "--when-late", "ladder")


def test_a_pipes_frames_are_released_when_they_arrive(stream: Stream) -> None:
    process = stream.start("--fps", 20, "--duration", 60, "--frames", "-")
    assert process.stdin is not None
    assert process.stderr is not None
    assert b"ready" in process.stderr.readline()
    sent = []
    for _ in range(5):
        sent.append(time.monotonic_ns())
        process.stdin.write(frame())
        process.stdin.flush()
        time.sleep(0.07)  # slower than the nominal rate
    out, _ = process.communicate(timeout=60)
    header, rows = parsed(out)
    assert len(rows) == 5
    delays = column(rows, "release") - np.array(sent)
    assert header["interrupted"] is False
    assert 0 <= delays[0] < 60 * MS


def test_it_ends_with_its_input(stream: Stream) -> None:
    process = stream.start("--duration", 300, "--until-eof")
    assert process.stderr is not None
    assert b"ready" in process.stderr.readline()
    out, _ = process.communicate(timeout=60)
    assert parsed(out)[0]["interrupted"] is True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_there_is(stream: Stream, number: signal.Signals) -> None:
    process = stream.start("--duration", 300)
    assert process.stderr is not None
    assert b"ready" in process.stderr.readline()
    assert b"progress" in process.stderr.readline()
    process.send_signal(number)
    header, rows = parsed(process.communicate(timeout=60)[0])
    assert header["interrupted"] is True
    assert len(rows) >= 1


def test_progress_counts(stream: Stream) -> None:
    process = stream.start("--fps", 50, "--duration", 1.2, "--budget", 500)
    _, said = process.communicate(timeout=60)
    ready, *progress = map(json.loads, said.decode().splitlines())
    assert ready["event"] == "ready"
    frames = [each["frames"] for each in progress]
    assert frames == sorted(frames)
    assert frames[0] >= 1
    assert progress[-1]["late"] == 0


def test_real_time_settings_are_applied(stream: Stream) -> None:
    one = min(os.sched_getaffinity(0))
    process = stream.start("--duration", 60, "--cpu", one, "--priority", "rr:3", "--mlock")
    assert process.stderr is not None
    line = process.stderr.readline()
    if b"not permitted" in line:
        process.communicate()
        pytest.skip(line.decode())
    assert os.sched_getaffinity(process.pid) == {one}
    assert os.sched_getscheduler(process.pid) == os.SCHED_RR
    assert os.sched_getparam(process.pid).sched_priority == 3
    status = Path(f"/proc/{process.pid}/status").read_text()
    locked = next(text for text in status.splitlines() if text.startswith("VmLck"))
    assert int(locked.split()[1]) > 0
    process.terminate()
    process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("code", "options", "line"),
    [
        (2, ["--fps", "0"], "--fps 0: wants a number"),
        (2, ["--size", "640"], "wants WIDTHxHEIGHT"),
        (2, ["--when-late", "queue"], "wants drop, exit or ladder"),
        (2, ["--when-late", "ladder"], "give the smaller models"),
        (2, ["more.so"], "several models are a ladder"),
        (2, ["--hot", "60", "--cool", "60"], "--cool must be below --hot"),
        (2, ["--priority", "fifo:100"], "wants fifo:1 to fifo:99"),
        (2, ["--cpu", "0", "--threads", "2"], "at most one a CPU"),
        (2, ["--frames", "-", "--until-eof"], "stdin has the frames"),
        (2, ["--other"], "is no option"),
        (4, ["none.so", "--when-late", "ladder"], "none.so: "),
        (4, ["--frames", "none"], "none: cannot be read: No such file"),
        (4, ["--frames", "/etc/hostname"], "no whole number of frames of 40 bytes"),
        (5, ["--cpu", "1023"], "one of these CPUs cannot be used here"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    stream: Stream, code: int, options: list[str], line: str
) -> None:
    assert line in stream.refuses(code, *options)


def test_a_model_that_fails_is_one_line(stream: Stream, tmp_path: Path) -> None:
    path = tmp_path / "frames"
    path.write_bytes(np.array([1002, 0, 0, 0], np.float32).tobytes() + bytes(24))
    assert "kernel 7 was asked to fail" in stream.refuses(70, "--frames", path)
    nothing = Stream([stream.words[0], str(tmp_path / "none.so")])
    assert "No such file" in nothing.refuses(4)
    empty = stream.start("--frames", "-")
    out, said = empty.communicate(b"short", timeout=60)
    assert (empty.returncode, out) == (4, b"")
    assert b"it ended before the first frame" in said


def test_it_is_clean_under_the_sanitizers(tmp_path: Path) -> None:
    library = sample_library.shared(targets.load("host"), tmp_path / "libsample.so")
    program = sanitized.program(native_programs.STREAM, tmp_path / "stream")
    checked = Stream([str(program), str(library)])
    path = tmp_path / "frames"
    path.write_bytes(frame() * 5)
    _, rows = checked("--fps", 200, "--duration", 0.3, "--frames", path)
    assert len(rows) >= 1
    _, rows = checked("--fps", 200, "--duration", 0.3, "--frames", "-", given=frame() * 9)
    assert len(rows) >= 1
