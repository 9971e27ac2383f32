from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from fleets import metrics, sends, serving


@pytest.fixture
def server() -> Any:
    with serving(lambda handler: sends(handler, metrics())) as url:
        yield url


@pytest.fixture(autouse=True)
def _no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TVM_TRACKER_HOST", raising=False)


def test_once_as_a_table_and_as_json(tvmkd: Any, server: str) -> None:
    done = tvmkd("board", "top", "--server", server, "--server", "127.0.0.1:1", "--once")
    assert done.code == 1, "a server is down"
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0][:2] == ["board", "status"]
    assert lines[1][:3] == [server, "up", "62"]
    assert lines[2][1:4] == ["down:", "Connection", "refused"]
    assert lines[4][:4] == ["student", "2", server, "ready"]
    done = tvmkd("board", "top", "--server", server, "--once", "--json")
    assert done.code == 0, done.err
    data = json.loads(done.out)
    assert data["models"][0]["misses"] == 5
    assert data["boards"][0]["state"]["watts"] == 2.5


def test_a_token_is_sent(tvmkd: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123\n")
    token.chmod(0o600)
    seen: list[str | None] = []

    def answer(handler: Any) -> None:
        seen.append(handler.headers.get("Authorization"))
        sends(handler, metrics())

    with serving(answer) as url:
        assert tvmkd("board", "top", "--server", url, "--token-file", token, "--once").code == 0
    assert seen == ["Bearer 0123456789abcdef0123"]


def test_a_page_is_written(tvmkd: Any, server: str, tmp_path: Path) -> None:
    page = tmp_path / "fleet.html"
    assert tvmkd("board", "top", "--server", server, "--once", "--page", page).code == 0
    assert "1 boards and 1 models are well" in page.read_text()


def test_dashboards_are_written(tvmkd: Any, tmp_path: Path) -> None:
    done = tvmkd("board", "top", "--dashboards", tmp_path / "m")
    assert done.code == 0
    assert [Path(line).name for line in done.out.split()] == [
        "grafana.json",
        "rules.yml",
        "prometheus.yml",
    ]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], "give --server"),
        (["--server", "ftp://a"], "give http://"),
        (["--ssh", "-x"], "USER@HOST"),
    ],
)
def test_wrong_usage(tvmkd: Any, options: list[str], line: str) -> None:
    done = tvmkd("board", "top", "--once", *options)
    assert done.code == 2
    assert line in done.err


def test_bad_input(tvmkd: Any, server: str, tmp_path: Path) -> None:
    done = tvmkd("board", "top", "--server", server, "--once", "--token-file", tmp_path / "none")
    assert done.code == 4
    assert tvmkd("board", "top", "--server", server, "--once", "--page", tmp_path).code == 4


def test_it_looks_again_and_serves_a_page_until_it_is_interrupted(server: str) -> None:
    options = ["--server", server, "--interval", "0.2", "--http", "0", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tvmkd", "board", "top", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        address = process.stderr.readline().strip()
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        assert second["at"] > first["at"]
        assert second["models"][0]["per_second"] == 0.0
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"are well" in answer.read()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
