"""What others send to the programs in C: mutated, malformed, without end; under ASan and UBSan."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import native_server
import numpy as np
import pytest
import sample_library
import sanitized
from conformance import Server, ask, request

from tvmkd import targets
from tvmkd.deploy import native_programs

READERS = (
    *("base64", "buffer", "description", "dtype", "fault", "http_head", "http_chunks"),
    *("infer_plan", "infer_answer", "infer_tensors", "json", "json_check", "model_library", "npy"),
    *("program", "tensor_json", "utf8", "version_policy"),
)


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [native_programs.NATIVE / f"{name}.c" for name in READERS]
    sources.append(Path(__file__).parent / "fuzz_native.c")
    return sanitized.build(tmp_path_factory.mktemp("fuzz") / "fuzz", sources)


def fuzz(fuzzer: Path, seconds: float, seed: int) -> dict[str, tuple[int, int]]:
    done = subprocess.run(
        [fuzzer, str(seconds), str(seed)], capture_output=True, text=True, timeout=seconds + 60
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, tuple[int, int]] = json.loads(done.stdout)
    return found


def test_mutated_inputs(fuzzer: Path) -> None:
    found = fuzz(fuzzer, 3, 1)
    for reader, (tried, accepted) in found.items():
        assert tried > 1000, reader
        # Inputs that are all refused at the first byte would test nothing.
        assert accepted > (-1 if reader == "base64" else tried / 100), reader
        assert accepted < tried, reader


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_mutated_inputs_for_longer(fuzzer: Path, seed: int) -> None:
    fuzz(fuzzer, 20, seed)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server under the sanitizers; it must end with exit code 0, without a leak."""
    folder = tmp_path_factory.mktemp("sanitized")
    program = sanitized.program(native_programs.SERVER, folder / "server")
    library = sample_library.shared(targets.load("host"), folder / "libsample.so")
    limits = ["--max-body", "1", "--read-timeout", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASAN_OPTIONS", "handle_segv=0")  # the sample's crash is no finding
        with native_server.running(program, library, *limits) as running:
            yield running.server()
    assert "Sanitizer" not in "".join(running.errors)


def corpus(server: Server) -> list[bytes]:
    """Requests that are right."""
    values = [np.zeros((1, 4), np.float32), np.zeros(3, np.int64)]
    found = []
    for binary in (True, False):
        body, headers = request(server, values, binary_in=binary, id="x")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {server.infer} HTTP/1.1\r\nHost: localhost\r\n{lines}"
        found.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        found.append(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunked)
    for path in ("/v2/repository/index", f"/v2/repository/models/{server.model}/load"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}"
        found.append(head.encode())
    paths = ("/metrics", "/v2", "/v2/models/sample", "/v2/health/ready")
    found += [f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths]
    return found


def mutated(rng: random.Random, requests: list[bytes]) -> bytes:
    data = bytearray(rng.choice(requests))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            data[at:at] = rng.choice([b"\r\n", b"\n", b"\0", b'"', b"{", b"99", b"\xff", b":"])
        elif kind == 2:
            del data[at : at + rng.randint(1, 20)]
        elif kind == 3:
            data[at:at] = data[at : at + rng.randint(1, 200)]
        else:
            data[at:at] = rng.choice(requests)
    return bytes(data)


def test_ten_thousand_malformed_requests(served: Server) -> None:
    rng = random.Random(7)
    requests = corpus(served)
    statuses: dict[bytes, int] = {}
    for _ in range(10_000):
        line = socket.create_connection(served.address, timeout=20)
        with line, contextlib.suppress(OSError):
            line.sendall(mutated(rng, requests))
            line.shutdown(socket.SHUT_WR)
            answer = line.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 "), answer
            statuses[answer[9:12]] = statuses.get(answer[9:12], 0) + 1
    # All kinds of answers were seen, and no fault of the server.
    assert {b"", b"200", b"400", b"404"} <= set(statuses)
    assert b"500" not in statuses
    values = [np.ones((1, 4), np.float32), np.ones(3, np.int64)]
    body, headers = request(served, values)
    served.check(values, ask(served, "POST", served.infer, body, headers).outputs())


def test_faults_of_models_under_the_sanitizers(served: Server) -> None:
    counts = np.ones(3, np.int64)
    for first in (1003, 1002, 1005, 1, 1003):
        values = [np.array([[first, 2, 3, 4]], np.float32), counts]
        body, headers = request(served, values)
        status = ask(served, "POST", served.infer, body, headers).status
        assert status == (200 if first == 1 else 500)


def test_the_run_program_under_the_sanitizers(tmp_path: Path) -> None:
    program = sanitized.program(native_programs.RUN, tmp_path / "run")
    library = sample_library.shared(targets.load("host"), tmp_path / "libsample.so")
    for options in (
        ["--describe", "--json"],
        ["--output", tmp_path / "out"],
        ["--compare", tmp_path / "out"],
        ["--inputs", tmp_path, "--compare", tmp_path / "out"],
        ["--warmUp=1", "--duration=0", "--iterations=2000", "--instances=2", "--json",
         "--exportTimes", tmp_path / "times.json", "--deadline=50"],
        ["--warmUp=1", "--duration=0", "--iterations=20", "--avgRuns=3"],
    ):  # fmt: skip
        if options[0] == "--inputs":
            np.save(tmp_path / "x.npy", np.zeros((1, 4), np.float32))
            np.save(tmp_path / "counts.npy", np.zeros(3, np.int64))
        command = [program, library, *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert "Sanitizer" not in done.stderr, done.stderr[-3000:]
        assert done.returncode == (1 if options[0] == "--inputs" else 0), done.stderr
