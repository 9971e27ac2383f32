"""A board's shell, with a stand-in for ssh; test_push.py installs bundles by it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tvmkd.base.errors import MissingError, UsageError
from tvmkd.deploy.bundles import remote
from tvmkd.deploy.bundles.remote import Remote

SSH = """#!/bin/sh
# Runs the command, the last argument; $SSH_FAILS is what ssh itself says instead.
if [ -n "$SSH_FAILS" ]; then echo "$SSH_FAILS" >&2; exit 255; fi
for command; do :; done
exec sh -c "$command"
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """This machine, behind the stand-in."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    return Remote("user@nano")


def test_run(board: Remote) -> None:
    assert board.run("printf 'a\\nb'; cat; echo noise >&2", stdin=b"given") == "a\nbgiven"
    assert board.run("printf '\\377'") == "\N{REPLACEMENT CHARACTER}"
    # What programs say is read here: always in English.
    assert board.run("printf %s $LC_ALL") == "C"


def test_what_a_failed_command_said(board: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingError, match=r"^user@nano: disk full$"):
        board.run("echo first >&2; echo ' disk full ' >&2; exit 4")
    with pytest.raises(MissingError, match=r"^user@nano: ended with code 7$"):
        board.run("echo said; exit 7")
    monkeypatch.setenv("SSH_FAILS", "user@nano: Permission denied (publickey).")
    with pytest.raises(MissingError, match="Permission denied"):
        board.run("true")


def test_a_board_that_does_not_answer(board: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "QUICK_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(MissingError, match="user@nano: no answer in 0 s; is the board busy"):
        board.run("exec sleep 30")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("start", [0, 5, 299_999, 300_000])
def test_send_from_a_byte_on(board: Remote, tmp_path: Path, start: int) -> None:
    data = os.urandom(300_000)  # more than a chunk, and more than a pipe holds
    (tmp_path / "file").write_bytes(data)
    assert board.send(f"cat > {tmp_path / 'got'}", tmp_path / "file", start) is True
    assert (tmp_path / "got").read_bytes() == data[start:]


def test_send_when_the_connection_ends(board: Remote, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3_000_000))
    script = f"head -c 1000 > {tmp_path / 'got'}; exit 255"
    assert board.send(script, tmp_path / "file", 0) is False
    assert (tmp_path / "got").stat().st_size == 1000
    # The same with a file so small that writing it does not fail.
    (tmp_path / "file").write_bytes(b"x")
    assert board.send("exit 255", tmp_path / "file", 0) is False


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_send_when_the_command_fails(board: Remote, tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(bytes(size))
    with pytest.raises(MissingError, match=r"^user@nano: No space left on device$"):
        board.send("echo 'No space left on device' >&2; exit 1", tmp_path / "file", 0)


def test_stream(board: Remote) -> None:
    shown: list[str] = []
    code, last = board.stream("echo one; echo two >&2; printf '\\377\\n'; exit 4", shown.append)
    assert (code, last) == (4, shown[-1])
    assert shown == ["one", "two", "\N{REPLACEMENT CHARACTER}"]


def test_no_command_reads_what_is_typed_here(board: Remote, tmp_path: Path) -> None:
    (tmp_path / "typed").write_text("yes\n")
    before, typed = os.dup(0), os.open(tmp_path / "typed", os.O_RDONLY)
    os.dup2(typed, 0)
    try:
        assert board.stream("cat; echo end", lambda _: None) == (0, "end")
        assert board.run("cat") == ""
        assert os.read(0, 9) == b"yes\n"
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(typed)


def test_lines_are_shown_as_they_come(board: Remote, tmp_path: Path) -> None:
    go = tmp_path / "go"

    def show(line: str) -> None:
        # The script waits for this: were lines kept to the end, it would give up.
        go.touch() if line == "one" else None

    script = f"echo one; for i in $(seq 100); do [ -e {go} ] && exit; sleep 0.1; done; exit 9"
    assert board.stream(script, show) == (0, "one")


def test_stream_when_the_connection_ends(board: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    again = "what ran there before runs on: run the same command again"
    with pytest.raises(MissingError, match=f"^user@nano: half; {again}$"):
        board.stream("echo half; exit 255", lambda _: None)
    with pytest.raises(MissingError, match=f"^user@nano: the connection ended; {again}$"):
        board.stream("exit 255", lambda _: None)
    monkeypatch.setenv("SSH_FAILS", "No route to host")
    with pytest.raises(MissingError, match="No route to host"):
        board.stream("true", lambda _: None)


def test_what_is_no_board() -> None:
    with pytest.raises(UsageError, match="give USER@HOST"):
        Remote("-oProxyCommand=x")
