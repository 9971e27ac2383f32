"""Wrong uses of the command, and what it says and does at its start and end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from running import make_toy, serving

from tvmkd import cli, targets

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs the command, which must fail, and returns its exit code and its line."""

    def call(*argv: object) -> tuple[int, str]:
        before = signal.getsignal(signal.SIGTERM)
        try:
            code = cli.execute(["serve", *map(str, argv)])
        finally:
            signal.signal(signal.SIGTERM, before)
        lines = [line for line in capfd.readouterr().err.splitlines() if "rror: " in line]
        assert len(lines) == 1, lines
        return code, lines[0]

    return call


def test_no_artifact(refused: Any, tmp_path: Path) -> None:
    code, line = refused(tmp_path / "gone")
    assert code == 4
    assert f"{tmp_path}/gone: not an artifact (no manifest.json); make one with" in line
    code, line = refused(tmp_path)
    assert code == 4
    assert f"{tmp_path}: holds no artifact; make one" in line


def test_two_artifacts_of_one_name(
    refused: Any, toy: Path, tmp_path: Path, toy_library: Path
) -> None:
    other = make_toy(tmp_path / "other", toy_library)
    code, line = refused(toy, other)
    assert code == 2
    assert "are both called 'toy'; give other names with --name" in line
    assert str(toy) in line
    assert str(other) in line


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (["--name", "a", "--name", "b"], 2, "2 names for 1 folders"),
        (["--name", "a/b"], 2, "cannot be part of a URL"),
        (["--cpus", "x"], 2, "expected numbers"),
        (["--cpus", "4096"], 2, "may not use CPU 4096"),
        (["--instances", "0"], 2, "0 is not in the range"),
        (["--http-port", "65536"], 2, "65536 is not in the range"),
        (["--certfile", "a.pem"], 2, "give --certfile and --keyfile together"),
        (["--certfile", "a.pem", "--keyfile", "b.pem"], 4, "no certificate and its key"),
        (["--token-file", "gone"], 4, "gone: cannot be read as a token"),
        (["--host", "no-such-host.invalid"], 5, "cannot listen at no-such-host.invalid"),
    ],
)
def test_a_wrong_option(refused: Any, toy: Path, argv: list[str], code: int, text: str) -> None:
    ports = ["--http-port", "0", "--grpc-port", "0"]
    found, line = refused(toy, *ports, *argv)
    assert (found, text in line) == (code, True), line


@pytest.mark.parametrize("words", ["", "short", "two words-of-some-length", "é" * 20])
def test_a_token_that_is_none(refused: Any, toy: Path, tmp_path: Path, words: str) -> None:
    (tmp_path / "token").write_text(words)
    code, line = refused(toy, "--token-file", tmp_path / "token")
    assert code == 4
    assert f"{tmp_path}/token: " in line


@pytest.mark.parametrize("which", ["--http-port", "--grpc-port"])
def test_a_port_that_is_taken(refused: Any, toy: Path, which: str) -> None:
    pytest.importorskip("grpc")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = "--grpc-port" if which == "--http-port" else "--http-port"
        code, line = refused(toy, which, port, other, 0)
    assert code == 5
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in line
    assert which in line


def test_a_damaged_artifact(tmp_path: Path, toy_library: Path) -> None:
    folder = make_toy(tmp_path / "toy", toy_library)
    data = bytearray((folder / "model.so").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.so").write_bytes(data)
    words = [sys.executable, "-m", "tvmkd", "serve", folder, "--http-port", "0"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert done.stdout == ""
    first, line, *more = filter(None, done.stderr.splitlines())
    assert first == "loading toy"
    assert "does not have the SHA-256 in the manifest" in line
    assert more == [], "nothing else, as asyncio's complaints of tasks that nobody ended"


def test_an_artifact_for_another_machine(refused: Any, tmp_path: Path, toy_library: Path) -> None:
    target = targets.load("jetson-nano").to_dict()
    folder = make_toy(tmp_path / "toy", toy_library, target=target)
    code, line = refused(folder, "--http-port", "0", "--grpc-port", "0")
    assert code == 4
    assert "cannot run here" in line


def test_tls_and_the_warning_of_a_public_address(toy: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    done = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", key, "-out", certificate),
        ],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("openssl cannot make a certificate here")
    tls = ["--certfile", certificate, "--keyfile", key]
    with serving(toy, "--host", "0.0.0.0", *tls) as running:
        assert running.facts["scheme"] == "https"
        context = ssl.create_default_context(cafile=certificate)
        url = f"https://127.0.0.1:{running.port}/v2/models/toy"
        with urllib.request.urlopen(url, context=context) as response:
            assert json.load(response)["name"] == "toy"
        # Nobody may change the models of a server that everybody can reach.
        request = urllib.request.Request(
            f"https://127.0.0.1:{running.port}/v2/repository/models/toy/unload", b""
        )
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request, context=context)
        assert error.value.code == 403
        triton = pytest.importorskip("tritonclient.grpc")
        with triton.InferenceServerClient(
            f"localhost:{running.facts['grpc_port']}", ssl=True, root_certificates=str(certificate)
        ) as client:
            assert client.is_server_ready()
    warnings = " ".join("".join(running.errors).split())
    assert warnings.count("warning: ") == 1
    assert "there is no token; give --token-file" in warnings


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_loads_ends_it(toy: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tvmkd", "serve", toy, "--http-port", "0", "--grpc-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "loading toy" in process.stderr.readline()
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130, 143), err
    assert "Traceback" not in err
    assert out == ""


def test_instances_are_pinned(toy: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    with serving(toy, "--instances", "2", "--cpus", cpu) as running:
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
        pids = [int(word) for word in children.read_text().split()]
        assert len(pids) == 2
        assert [os.sched_getaffinity(pid) for pid in pids] == [{cpu}, {cpu}]
