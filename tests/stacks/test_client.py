"""The client against a stand-in worker that speaks the real protocol."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import InputError, WorkerDied
from tvmkd.export import door
from tvmkd.export.check import ModelInfo
from tvmkd.stacks.client import StackClient

WORKER = """
import sys, time, os, signal
from tvmkd.base import wire
from tvmkd.base.errors import InputError

def tune(params, emit):
    emit("note", {"text": "started"})
    if params["seed"] == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if params["seed"] == 14:
        time.sleep(60)
    try:
        if params["seed"] == 15:
            time.sleep(60)
    except KeyboardInterrupt:
        open(params["records"], "w").write("put away")
        raise
    return params

def lower(params, emit):
    raise InputError("nothing like an ONNX file")

signal.signal(signal.SIGINT, signal.default_int_handler)
def build(params, emit):
    emit("stage", {"text": "lowering"})
    onnx = params["onnx"]
    if os.path.exists(onnx) and b"Erf" in open(onnx, "rb").read():
        os.kill(os.getpid(), signal.SIGSEGV)
    return params

wire.serve({"tune": tune, "lower": lower, "available": lambda p, e: {"version": "9"},
            "build": build, "profile": lambda p, e: [p]})
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(door, "admit", lambda path, *_: ModelInfo(path, (), (), "ab", 17, {}, {}))
    script = tmp_path / "python"
    code = tmp_path / "worker.py"
    code.write_text(WORKER)
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {code}\n")
    script.chmod(0o755)
    with StackClient("relay", python=script) as running:
        yield running


TUNE: dict[str, Any] = {"trials": 3, "tracker": {"host": "h", "port": 1, "key": "k"}}


def test_calls_carry_json_parameters_and_events(client: StackClient, tmp_path: Path) -> None:
    assert client.pid is None
    assert client.available() == {"version": "9"}
    events: list[Any] = []
    got = client.tune(
        tmp_path / "m.onnx",
        {"name": "t"},
        tmp_path / "r",
        seed=2,
        dims={"N": 1},
        on_event=lambda *event: events.append(event),
        **TUNE,
    )
    assert events == [("note", {"text": "started"})]
    assert got["onnx"] == str(tmp_path / "m.onnx")
    assert (got["trials"], got["seed"], got["dims"], got["options"]) == (3, 2, {"N": 1}, {})
    built = client.build(Path("m"), {}, [Path("a"), Path("b")], Path("o"))
    assert (built["records"], built["check"], built["real_inputs"]) == (["a", "b"], True, None)
    assert not built["checked"]
    assert client.profile(Path("a"))[0]["repeats"] == 10


def test_errors_keep_their_type(client: StackClient) -> None:
    with pytest.raises(InputError, match="nothing like an ONNX file"):
        client.lower(Path("m.onnx"), {})


def test_a_worker_that_dies_or_falls_silent_is_reported(client: StackClient) -> None:
    with pytest.raises(WorkerDied, match=r"^m: starting the compiler: .*SIGKILL"):
        client.tune(Path("m"), {}, Path("r"), seed=13, **TUNE)
    with pytest.raises(InputError, match=r"^m: no sign of life .* 1 s \(starting the compiler\)"):
        client.tune(Path("m"), {}, Path("r"), seed=14, timeout=1, **TUNE)
    assert client.available() == {"version": "9"}  # a new worker


def test_a_crash_of_the_compiler_names_the_operator(
    client: StackClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import graphs

    from tvmkd.stacks import client as module

    monkeypatch.setattr(module, "_advice", lambda ways, *_: f"try {ways[0][0]}")
    g = graphs.Graph(1, 4)
    for operator in ("Exp", "Erf", "Neg"):
        g.add(operator)
    path = g.save(tmp_path / "m.onnx")
    said: list[Any] = []
    with pytest.raises(InputError) as caught:
        client.build(path, {}, [], Path("o"), on_event=lambda _, data: said.append(data["text"]))
    text = str(caught.value)
    assert text.startswith(f'{path}: the relay stack cannot compile Erf (node "n1"): ')
    assert "SIGSEGV" in text
    assert text.endswith("; try relax")
    assert said == ["lowering", "searching for the operator that cannot be compiled"]


def test_ctrl_c_lets_the_worker_put_things_away(client: StackClient, tmp_path: Path) -> None:
    client.available()
    pid = client.pid
    assert pid is not None
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        client.tune(Path("m"), {}, tmp_path / "r", seed=15, **TUNE)
    timer.join()
    assert (tmp_path / "r").read_text() == "put away"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert client.available() == {"version": "9"}  # a new worker


def test_a_file_is_normalised_here_and_the_copy_is_there_until_the_client_closes(
    client: StackClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def admit(path: Path, dims: Any, folder: Path) -> ModelInfo:
        made.append(folder / "normalised.onnx")
        made[-1].touch()
        return ModelInfo(path, (), (), "ab", 17, {}, {}, normalised=made[-1])

    monkeypatch.setattr(door, "admit", admit)
    got = client.build(tmp_path / "m.onnx", {}, [], Path("o"))
    assert got["model"]["normalised"] == str(made[0])
    assert made[0].exists()
    client.close()
    assert not made[0].exists()
    info = ModelInfo(tmp_path / "m.onnx", (), (), "ab", 17, {}, {})
    assert client.build(info, {}, [], Path("o"))["checked"]
    assert len(made) == 1
