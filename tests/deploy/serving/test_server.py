"""The server's start and end: ports, TLS, signals, the CPUs of its instances."""

from __future__ import annotations

import asyncio
import json
import os
import resource
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

import pytest
from running import serving

from tvmkd.base.errors import InputError, MissingError
from tvmkd.deploy.serving import server
from tvmkd.deploy.serving.options import Address, Options
from tvmkd.deploy.serving.sources import Source

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.mark.parametrize("which", ["--http-port", "--grpc-port"])
def test_a_port_that_is_taken(toy: Path, which: str) -> None:
    pytest.importorskip("grpc")
    before = [signal.getsignal(number) for number in NUMBERS]
    started: list[Address] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = (port, 0) if which == "--http-port" else (0, port)
        options = Options(http_port=ports[0], grpc_port=ports[1])
        with pytest.raises(MissingError) as error:
            server.run({"toy": Source("toy", toy)}, options, started.append)
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in str(error.value)
    assert which in str(error.value)
    assert started == []
    assert [signal.getsignal(number) for number in NUMBERS] == before


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_before_the_loop_runs_is_noted(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in NUMBERS]
    with server._stop_noted() as noted:
        assert noted == []
        signal.raise_signal(number)
        assert noted == [number]
    assert [signal.getsignal(each) for each in NUMBERS] == before


def test_a_noted_signal_ends_the_start_before_anything_is_loaded(tmp_path: Path) -> None:
    started: list[Address] = []
    sources = {"gone": Source("gone", tmp_path / "gone")}  # loading it would fail

    async def main() -> None:
        with server._listening("127.0.0.1", 0) as sock:
            await server._serve(
                sources, Options(grpc_port=None), sock, started.append, [signal.SIGTERM]
            )

    before = signal.getsignal(signal.SIGTERM)
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert started == []


def test_a_model_that_cannot_be_loaded_ends_the_start(tmp_path: Path) -> None:
    sources = {"gone": Source("gone", tmp_path / "gone")}
    with pytest.raises(InputError, match="there is no artifact any more"):
        server.run(sources, Options(http_port=0, grpc_port=None), lambda address: None)


@pytest.mark.parametrize("name", ["httptools", "starlette", "uvicorn"])
def test_a_package_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    with pytest.raises(MissingError, match=rf"needs {name}; .*pip install 'tvmkd\[serve\]'"):
        server.run({}, Options(http_port=0), lambda address: None)


@pytest.mark.parametrize(
    ("host", "port"), [("no-such-host.invalid", 0), ("127.0.0.1", 65536), ("192.0.2.1", 0)]
)
def test_an_address_that_cannot_be_had(host: str, port: int) -> None:
    with pytest.raises(MissingError, match=f"cannot listen at {host}:{port}: .*--host"):
        server._listening(host, port)


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (1024, 4096, (2512, 4096)),
        (1024, resource.RLIM_INFINITY, (2512, resource.RLIM_INFINITY)),
        (1024, 2000, (2000, 2000)),
        (4096, 4096, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_the_limit_of_files_is_raised_as_far_as_it_may_be(
    soft: int, hard: int, expected: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[int, int]] = []
    monkeypatch.setattr(server.resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(server.resource, "setrlimit", lambda _, wanted: done.append(wanted))
    server._allow_files(2000)
    assert done == ([] if expected is None else [expected])


def test_what_waits_in_a_loop_is_ended_with_it() -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(asyncio.sleep(3600))
    server._close(loop)
    assert task.cancelled()
    assert loop.is_closed()


@pytest.mark.parametrize("content", [None, "", "no PEM"])
def test_a_certificate_that_is_none(tmp_path: Path, content: str | None) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    if content is not None:
        certificate.write_text(content)
        key.write_text(content)
    with pytest.raises(InputError) as error:
        server.tls(certificate, key)
    assert f"{certificate}, {key}: no certificate and its key in PEM: " in str(error.value)
    assert "\n" not in str(error.value)


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


@pytest.mark.parametrize("number", NUMBERS)
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
    assert process.returncode in (0, 129, 130, 143), err
    assert "Traceback" not in err
    assert out == ""


def test_instances_are_pinned(toy: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    with serving(toy, "--instances", "2", "--cpus", cpu) as running:
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
        pids = [int(word) for word in children.read_text().split()]
        assert len(pids) == 2
        assert [os.sched_getaffinity(pid) for pid in pids] == [{cpu}, {cpu}]
