"""Streams on a board without Python, over ssh: a program in C, a standalone library and frames.

The frames go there first, so that the network is no part of what is measured. A library without
pre-processing of its own gets inputs that were prepared here.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from tvmkd import artifact
from tvmkd.base import ssh
from tvmkd.base.errors import InputError, MissingError, TvmkdError, UsageError
from tvmkd.boards import facts
from tvmkd.boards.board_state import Telemetry
from tvmkd.deploy import native_programs
from tvmkd.deploy.bundles.remote import Remote
from tvmkd.deploy.monitoring import over_ssh
from tvmkd.deploy.streaming import fit, power_mode, sources, summarise
from tvmkd.deploy.streaming.model import Model, described
from tvmkd.deploy.streaming.pipeline import pipeline_of
from tvmkd.deploy.streaming.plan import Plan
from tvmkd.deploy.streaming.record import COLUMNS, Table
from tvmkd.deploy.streaming.result import StreamResult
from tvmkd.deploy.streaming.sampler import Sampler
from tvmkd.deploy.streaming.stream import Told, assemble, ends_early
from tvmkd.targets import Target

FRAMES = 8
"""So many frames are sent, and repeated."""
STATE_SECONDS = 5.0
"""Between two readings of the board's state: each is a connection, and work for the board."""
ERRORS: Mapping[int, type[TvmkdError]] = {2: UsageError, 4: InputError, 5: MissingError}


def run(
    plan: Plan,
    destination: str,
    *,
    power: str | None = None,
    power_commands: Sequence[power_mode.Command] = (),
    model_ms: float | None = None,
    told: Told = lambda event, data: None,
) -> tuple[StreamResult, Table]:
    """Streams on a board; arguments and results as of `tvmkd.deploy.streaming.stream.run`.

    Args:
        destination: ``USER@HOST``.

    Raises:
        InputError: the artifact is no standalone one, or not for this board.
        MissingError: the board cannot be reached, or a setting is not permitted there.
        UsageError: the plan has frames from a pipe, or models for other targets than the first.
    """
    if plan.source == "raw" and plan.input is not None and not Path(plan.input).is_file():
        raise UsageError(
            "--ssh: frames come from files; run tvmkd-stream on the board for a camera"
        )
    models = [described(path) for path in plan.paths]
    _check_alike(models)
    # A library without pre-processing gets what was prepared for the first.
    fit.check(models, plan.when_late, prepared=not artifact.read(plan.paths[0]).frames)
    try:
        board = over_ssh.files(destination)
    except over_ssh.Unanswered as error:
        raise MissingError(f"{destination}: {error}") from None
    about = facts.of_files(board)
    with contextlib.ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvmkd-stream-")))
        data, source = _frames(models[0], plan)
        (here / "frames").write_bytes(data)
        remote = Remote(destination)
        place = stack.enter_context(_folder(remote))
        _send(remote, place, models, here / "frames")
        stack.enter_context(
            power_mode.applied(
                power_commands, board, lambda command: _command(remote, command), place
            )
        )
        sampler = stack.enter_context(Sampler(STATE_SECONDS, lambda: _state(destination)))
        command = ssh.command(destination, shlex.join(_arguments(plan, place, models)))
        header, table, begun = _stream(command, here, told)
    found = {
        **header,
        "source": f"{source}, sent to the board first",
        "models": [
            {
                "name": ran["name"],
                "path": str(model.path),
                "sha256": model.sha256,
                "runtime": model.runtime,
                "steps": _steps(ran, model),
                "reference_ms": ran["reference_ms"],
                "exits": ran["exits"],
            }
            for ran, model in zip(header["models"], models, strict=True)
        ],
    }
    states = summarise.states(sampler.samples, begun)
    ran_on = {
        "cpu": about.get("model") or about["cpu"],
        "machine": str(models[0].target["toolchain"]["triple"]).partition("-")[0],
        "cpus": _cpus(about),
        "system": destination,
        "governor": about.get("governor"),
    }
    return assemble(plan, found, table, states, ran_on, power, model_ms), table


def _check_alike(models: Sequence[Model]) -> None:
    first = models[0]
    for model in models[1:]:
        if model.target != first.target:
            raise UsageError(
                f"{model.path}: is built for {model.target['name']}, and {first.path} for "
                f"{first.target['name']}; a ladder's models need one target"
            )


def _cpus(about: Mapping[str, Any]) -> int:
    return max(1, len(about["clocks_khz"]))


def _steps(header: Mapping[str, Any], model: Model) -> str:
    return (
        "in the library" if header["preprocessing"] else f"on the host: {pipeline_of(model).kind}"
    )


def _frames(model: Model, plan: Plan) -> tuple[bytes, str]:
    """The bytes of the frames, or of the inputs that they become; and what they are."""
    manifest = artifact.read(model.path, verify=False)
    path = None if plan.input is None else Path(plan.input)
    opened = sources.open_frames(plan.source, path, plan.size, plan.severity)
    pixels = [opened.pixels(number).copy() for number in range(min(FRAMES, opened.count))]
    if manifest.frames:
        sizes = {each.shape for each in pixels}
        if len(sizes) > 1:
            raise UsageError("the pictures have several sizes: give one, such as --size 640x480")
        return b"".join(each.tobytes() for each in pixels), opened.describes
    steps = pipeline_of(model)
    inputs = [array.tobytes() for each in pixels for array in steps.prepare(each)]
    return b"".join(inputs), opened.describes


@contextlib.contextmanager
def _folder(remote: Remote) -> Iterator[str]:
    """A temporary folder on the board, removed at the end."""
    place = remote.run("mktemp -d /tmp/tvmkd-stream-XXXXXX").strip()
    if not re.fullmatch(r"/[\w./-]+", place):
        raise MissingError(f"{remote.destination}: mktemp gave no folder ({place[:80]!r})")
    try:
        yield place
    finally:
        with contextlib.suppress(MissingError):
            remote.run(f"rm -rf -- {place}")


def _send(remote: Remote, place: str, models: Sequence[Model], frames: Path) -> None:
    target = Target.from_dict(dict(models[0].target), where=str(models[0].path))
    files = {"tvmkd-stream": native_programs.stream_program(target), "frames": frames}
    for number, model in enumerate(models):
        files[f"model{number}.so"] = model.path / artifact.read(model.path).library
    for name, path in files.items():
        if not remote.send(f"cat > {place}/{name}", path, 0):
            raise MissingError(f"{remote.destination}: the connection ended while {name} was sent")
    remote.run(f"chmod +x {place}/tvmkd-stream")


def _command(remote: Remote, command: power_mode.Command) -> None:
    remote.run(shlex.join(command))


def _state(destination: str) -> Telemetry:
    try:
        return Telemetry.from_dict(over_ssh.ask(destination))
    except over_ssh.Unanswered:  # the next reading may have an answer
        return Telemetry()


def _arguments(plan: Plan, place: str, models: Sequence[Model]) -> list[str]:
    words = [f"{place}/tvmkd-stream"]
    words += [f"{place}/model{number}.so" for number in range(len(models))]
    words += [
        "--frames",
        f"{place}/frames",
        "--until-eof",
        "--fps",
        repr(plan.fps),
        "--budget",
        repr(plan.budget_ms),
    ]
    words += ["--duration", repr(plan.seconds), "--when-late", plan.when_late]
    words += ["--calm", repr(plan.calm_s)]
    for option, celsius in (("--hot", plan.hot), ("--cool", plan.cool)):
        if celsius is not None:
            words += [option, repr(celsius)]
    if artifact.read(models[0].path, verify=False).frames:
        width, height = _size(plan)
        words += ["--size", f"{width}x{height}"]
    if plan.thread_count is not None:
        words += ["--threads", str(plan.thread_count)]
    if plan.cpus:
        words += ["--cpu", ",".join(map(str, plan.cpus))]
    if plan.priority is not None:
        words += ["--priority", plan.priority]
    return [*words, "--mlock"] if plan.lock_memory else words


def _size(plan: Plan) -> tuple[int, int]:
    path = None if plan.input is None else Path(plan.input)
    height, width = sources.open_frames(plan.source, path, plan.size).pixels(0).shape[:2]
    return width, height


def _stream(command: Sequence[str], here: Path, told: Told) -> tuple[dict[str, Any], Table, int]:
    """Runs the program; returns its line, its rows, and when it began by this machine's clock."""
    begun = time.monotonic_ns()
    with (here / "rows").open("wb") as rows:
        process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=rows, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    said = ""
    try:
        # The program ends with its stdin: also where this process is killed.
        with ends_early(process.stdin.close, told):
            for line in _lines(process.stderr):
                event = _event(line)
                if event is None:
                    said = line
                    continue
                if event["event"] == "ready":
                    begun = time.monotonic_ns()
                told(event["event"], event)
            process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()
        with contextlib.suppress(OSError):
            process.stdin.close()
    if process.returncode:
        kind = ERRORS.get(process.returncode, MissingError)
        reason = said.removeprefix("tvmkd-stream: ") or f"ended with {process.returncode}"
        raise kind(f"on the board: {reason}")
    header, table = _read((here / "rows").read_bytes())
    return header, table, begun


def _lines(stream: IO[bytes]) -> Iterator[str]:
    for line in stream:
        yield line.decode("utf-8", "replace").rstrip()


def _event(line: str) -> dict[str, Any] | None:
    """A line of progress; None for what is said to people."""
    try:
        data = json.loads(line)
    except ValueError:
        return None
    return data if isinstance(data, dict) and "event" in data else None


def _read(data: bytes) -> tuple[dict[str, Any], Table]:
    line, _, rest = data.partition(b"\n")
    try:
        header: dict[str, Any] = json.loads(line)
        table = np.frombuffer(rest, "<i8").reshape(-1, len(COLUMNS)).astype(np.int64)
        if header["columns"] != len(COLUMNS) or header["frames"] != len(table):
            raise ValueError("another number of frames")
        if not header["models"] or not isinstance(header["steps"], list):
            raise ValueError("no models")
    except (ValueError, KeyError, TypeError) as error:
        raise MissingError(f"the board sent no record of the stream ({error})") from None
    return header, table
