"""Wrong uses of the command, what it makes of its options, and what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import make_toy

from tvmkd import cli, targets
from tvmkd.deploy.serving import server, sources
from tvmkd.deploy.serving.limits import Limits
from tvmkd.deploy.serving.options import Address, Options

pytest.importorskip("httptools", reason="tvmkd serve needs it: pip install 'tvmkd[serve]'")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library that nothing here gets so far as to load."""
    path = tmp_path / "model.so"
    path.write_bytes(bytes(range(256)))
    return path


@pytest.fixture
def toy(tmp_path: Path, library: Path) -> Path:
    return make_toy(tmp_path / "toy", library)


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs the command, which must fail, and returns its exit code and its line."""

    def call(*argv: object) -> tuple[int, str]:
        code = cli.execute(["serve", *map(str, argv)])
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


def test_two_artifacts_of_one_name(refused: Any, toy: Path, tmp_path: Path, library: Path) -> None:
    other = make_toy(tmp_path / "other", library)
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


def test_a_damaged_artifact(tmp_path: Path, library: Path) -> None:
    folder = make_toy(tmp_path / "toy", library)
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


def test_an_artifact_for_another_machine(refused: Any, tmp_path: Path, library: Path) -> None:
    target = targets.load("jetson-nano").to_dict()
    folder = make_toy(tmp_path / "toy", library, target=target)
    code, line = refused(folder, "--http-port", "0", "--grpc-port", "0")
    assert code == 4
    assert "cannot run here" in line


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs the command up to the server, which says at once that it listens.

    Returns the models' names, the server's options, and what was printed.
    """

    def call(*argv: object) -> tuple[list[str], Options, str]:
        seen: list[Any] = []

        def start(sources: Any, options: Options, started: Any) -> None:
            seen.extend((list(sources), options))
            scheme = "http" if options.certificate is None else "https"
            started(Address(options.host, 1234, options.grpc_port and 1235, scheme))

        monkeypatch.setattr(server, "run", start)
        capfd.readouterr()
        assert cli.execute(["serve", *map(str, argv)]) == 0
        return seen[0], seen[1], capfd.readouterr().out

    return call


def test_the_defaults(run: Any, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    names, options, out = run(toy)
    assert names == ["toy"]
    assert options == Options(max_body=sources.LEAST_BODY + 8 * sources.JSON_BYTES, spin_us=250)
    assert out == ("toy: http://127.0.0.1:1234 (a page, REST, /metrics)\ngRPC: 127.0.0.1:1235\n")


def test_every_option(run: Any, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, *files = (tmp_path / name for name in ("token", "c.pem", "k.pem"))
    token.write_text("t" * 16)
    token.chmod(0o600)
    left: list[Any] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: left.append(cpus))
    names, options, out = run(
        toy, "--name", "mine", "--host", "::1", "--http-port", 0, "--no-grpc",
        "--instances", 3, "--cpus", "1,2", "--threads", 2, "--queue", 5,
        "--timeout", 1.5, "--spin", 7, "--max-body", 0.5, "--read-timeout", 2.5,
        "--token-file", token, "--certfile", files[0], "--keyfile", files[1],
        "--no-model-control", "--json",
    )  # fmt: skip
    assert left == [{0, 3}], "the CPUs that the server keeps"
    assert names == ["mine"]
    assert options == Options(
        host="::1",
        http_port=0,
        grpc_port=None,
        limits=Limits(3, (1, 2), 2, 5),
        timeout_us=1500,
        spin_us=7,
        max_body=2**19,
        read_s=2.5,
        token="t" * 16,
        certificate=files[0],
        key=files[1],
        control=False,
    )
    assert json.loads(out) == {
        "host": "::1", "http_port": 1234, "grpc_port": None, "scheme": "https",
        "url": "https://[::1]:1234", "models": ["mine"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [("2", (2,)), ("0-2", (0, 1, 2)), ("3,0-1", (3, 0, 1)), ("1,1,0-1", (1, 0)), ("", ())],
)
def test_cpus_as_tasksets(
    text: str, found: tuple[int, ...], run: Any, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    assert run(toy, "--cpus", text)[1].limits.cpus == found


@pytest.mark.parametrize("text", ["-1", "0-", "0-x", "1.5", "0-4"])
def test_cpus_that_are_none(
    text: str, refused: Any, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert refused(toy, "--cpus", text)[0] == 2
