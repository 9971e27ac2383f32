"""``serve.py``, the server for a board's own Python: the tests that every server must pass."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_nano
import numpy as np
import pytest
import sample_library
from conformance import (
    Answer,
    Conformance,
    Server,
    ask,
    metrics,
    raw_request,
    read_answer,
    request,
    total,
)
from native_server import running

from tvmkd import targets
from tvmkd.deploy import serve_file

TOKEN = "a-token-of-the-tests"
STANDARD = frozenset(
    {
        *(
            "argparse",
            "array",
            "asyncio",
            "collections",
            "ctypes",
            "fnmatch",
            "glob",
            "hmac",
            "importlib",
        ),
        *("ipaddress", "json", "math", "mmap", "os", "re", "resource", "signal", "socket", "stat"),
        *("struct", "subprocess", "sys", "tempfile", "time", "typing", "urllib.parse"),
    }
)


PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
OLD = sorted(PYENV.glob("versions/3.6.*/bin/python"))
"""Python 3.6, as on a stock Jetson Nano."""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("serve") / "serve.py"
    serve_file.write(path)
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    return sample_library.shared(targets.load("host"), folder / "libsample.so")


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


def test_it_is_python_3_6_with_the_standard_library() -> None:
    tree = ast.parse(serve_file.text(), feature_version=(3, 6))
    names = {
        *(a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names),
        *(str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)),
    }
    assert names <= STANDARD


def test_no_two_modules_define_the_same_name() -> None:
    """In one file the later one would win."""
    seen: dict[str, str] = {}
    for name in serve_file.ORDER:
        tree = ast.parse((serve_file.SOURCES / f"{name}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            defined: list[str] = []
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                defined = [node.name]
            elif isinstance(node, ast.Assign):
                found = [each for target in node.targets for each in ast.walk(target)]
                defined = [each.id for each in found if isinstance(each, ast.Name)]
            for each in defined:
                assert each not in seen, f"{each}: in {seen[each]} and in {name}"
                seen[each] = name
    modules = {path.stem for path in serve_file.SOURCES.glob("*.py")} - {"__init__"}
    assert modules == set(serve_file.ORDER)


def test_a_module_comes_after_those_that_it_imports() -> None:
    for number, name in enumerate(serve_file.ORDER):
        tree = ast.parse((serve_file.SOURCES / f"{name}.py").read_text(encoding="utf-8"))
        needed = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level}
        assert needed <= set(serve_file.ORDER[:number]), name


class TestOldPython(Conformance):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, script: Path, library: Path, token: Path) -> Iterator[Server]:
        if not OLD:
            pytest.skip("no Python 3.6 as JetPack 4.6 has: pyenv install 3.6.15")
        limits = ["--max-body", "1", "--read-timeout", "2", "--token-file", token]
        with running(OLD[-1], script, library, *limits) as found:
            yield found.server(token=TOKEN)


class TestThisPython(Conformance):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, script: Path, library: Path) -> Iterator[Server]:
        limits = ["--max-body", "1", "--read-timeout", "2"]
        with running(sys.executable, script, library, *limits) as found:
            yield found.server()


def infer(server: Server, *x: float, timeout_us: int = 0) -> Answer:
    values = [np.array([x], np.float32), np.array([1, 2, 3], np.int64)]
    more = {"parameters": {"timeout": timeout_us}} if timeout_us else {}
    body, headers = request(server, values, **more)
    return ask(server, "POST", server.infer, body, headers)


def test_a_crash_costs_only_its_own_request(script: Path, library: Path) -> None:
    with running(sys.executable, script, library, "--hang", "0.5") as found:
        server = found.server()
        assert "ended by signal 11" in infer(server, 1003, 0, 0, 0).error()
        assert infer(server, 1, 2, 3, 4).outputs()["y"].tolist() == [[3, 5, 7, 9]]
        assert "ended with exit code 3" in infer(server, 1005, 0, 0, 0).error()
        assert "kernel 7 was asked to fail" in infer(server, 1002, 0, 0, 0).error()
        assert "it hung and was killed" in infer(server, 1004, 0, 0, 0).error()
        assert infer(server, 1, 2, 3, 4).status == 200
        assert total(metrics(server), "tvmkd_instance_restarts_total") == 3


def test_deadlines_and_the_queue(script: Path, library: Path) -> None:
    with running(sys.executable, script, library, "--queue", "1") as found:
        server = found.server()
        infer(server, 1, 2, 3, 4)
        slow = threading.Thread(target=infer, args=(server, 1001, 500, 0, 0))
        slow.start()
        time.sleep(0.1)
        answer = infer(server, 1, 2, 3, 4, timeout_us=150_000)
        assert answer.status == 503
        assert "the deadline passed before an instance was free" in answer.error()
        waits = threading.Thread(target=infer, args=(server, 1, 2, 3, 4))
        waits.start()
        time.sleep(0.05)
        assert "the queue is full" in infer(server, 1, 2, 3, 4).error()
        slow.join()
        waits.join()


def test_sigterm_finishes_what_was_accepted(script: Path, library: Path) -> None:
    with running(sys.executable, script, library) as found:
        server, answers = found.server(), []
        server.metadata()
        slow = threading.Thread(target=lambda: answers.append(infer(server, 1001, 400, 0, 0)))
        slow.start()
        time.sleep(0.1)
        for each in found.instances():  # as a service manager that stops the whole group
            os.kill(each, signal.SIGTERM)
        found.process.terminate()
        assert found.process.wait(20) == 0
        slow.join()
        assert answers[0].status == 200


def test_a_request_half_sent_when_the_server_stops(script: Path, library: Path) -> None:
    """Its model has gone when the rest comes: that is no mistake of the client's."""
    with running(sys.executable, script, library) as found:
        server = found.server()
        body, headers = request(server, server.inputs())
        raw = raw_request(server, body, headers)
        with socket.create_connection(server.address, timeout=20) as line:
            line.sendall(raw[:-5])
            time.sleep(0.2)
            found.process.terminate()
            time.sleep(0.3)
            line.sendall(raw[-5:])
            answer = read_answer(line)
            assert answer.status == 503
            assert "stopped" in answer.error()
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["connection"] == "close"
        assert found.process.wait(20) == 0


def test_loading_and_unloading(script: Path, library: Path, tmp_path: Path) -> None:
    copy = tmp_path / "libadder.so"
    shutil.copy(library, copy)
    with running(sys.executable, script, copy, "--name", "adder") as found:
        server = found.server(model="adder")
        assert infer(server, 1, 2, 3, 4).outputs()["y"][0, 0] == 3
        new = tmp_path / "new.so"
        sample_library.shared(targets.load("host"), new, "-DSAMPLE_VERSION=2")
        new.replace(copy)
        assert ask(server, "POST", "/v2/repository/models/adder/load").status == 200
        assert infer(server, 1, 2, 3, 4).outputs()["y"][0, 0] == 4
        assert ask(server, "POST", "/v2/repository/models/adder/unload").status == 200
        assert infer(server, 1, 2, 3, 4).status == 404
        (row,) = ask(server, "POST", "/v2/repository/index").json()
        assert row["state"] == "UNAVAILABLE"
        assert ask(server, "POST", "/v2/repository/models/adder/load").status == 200
        found.process.send_signal(signal.SIGHUP)
        assert ask(server, "POST", "/v2/repository/models/nobody/load").status == 404


def test_the_board_in_the_metrics(
    script: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same samples as `tvmkd serve` shows of the same board."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    from tvmkd.boards import telemetry
    from tvmkd.deploy.serving import board_metrics

    fake_nano.plant(tmp_path, celsius=61.5, throttled=True)
    monkeypatch.setenv("TVMKD_BOARD_ROOT", str(tmp_path))
    with running(sys.executable, script, library) as found:
        samples = metrics(found.server())

    class Collector:
        def collect(self) -> Iterator[Any]:
            yield from board_metrics.families(telemetry.read())

    registry = CollectorRegistry()
    registry.register(Collector())
    theirs = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    ours = {key: value for key, value in samples.items() if "_board_" in key[0]}
    assert ours == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["none.so"], 4, "none.so: there is no such library"),
        ([], 2, "the following arguments are required: LIB.so"),
        (["{library}", "--name", "a/b"], 2, "cannot be part of a URL"),
        (["{library}", "--token-file", "none"], 4, "cannot be read as a token"),
        (["{library}", "--host", "no.such.host.invalid"], 5, "cannot listen at"),
        ([os.devnull], 4, "there is no such library"),
        ([__file__, "--name", "x"], 4, "invalid ELF header"),
    ],
)
def test_what_cannot_be_served(
    script: Path, library: Path, options: list[str], code: int, said: str
) -> None:
    given = [option.replace("{library}", str(library)) for option in options]
    command = [sys.executable, str(script), *given, "--http-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert json.dumps(done.stdout) == '""'
