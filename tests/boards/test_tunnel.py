"""Tunnels, with a stand-in for ssh that forwards ports on this machine."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tvmkd.base.errors import MissingError, UsageError
from tvmkd.boards import tunnel

SSH = """#!/usr/bin/env python3
import json, os, socket, sys
with open(os.environ["SSH_ARGV"], "w") as file:
    json.dump(sys.argv[1:], file)
if os.environ.get("SSH_SAYS"):
    sys.exit(os.environ["SSH_SAYS"])
forward = sys.argv[sys.argv.index("-L") + 1]
listening = socket.create_server(("127.0.0.1", int(forward.split(":")[1])))
while True:
    listening.accept()[0].close()
"""


@pytest.fixture
def argv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "bin" / "ssh"
    script.parent.mkdir()
    script.write_text(SSH)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_ARGV", str(tmp_path / "argv"))
    return tmp_path / "argv"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_both_ends_stay_at_the_loopback_and_the_tunnel_goes_with_the_block(argv: Path) -> None:
    port = free_port()
    with tunnel.to_board(f"user@nano:{port}", 40123):
        given = json.loads(argv.read_text())
        assert given[given.index("-R") + 1] == "127.0.0.1:9190:127.0.0.1:40123"
        assert given[given.index("-L") + 1] == f"127.0.0.1:{port}:127.0.0.1:{port}"
        assert given[-2:] == ["--", "user@nano"]
        assert {"ExitOnForwardFailure=yes", "BatchMode=yes"} <= set(given)
        with (
            pytest.raises(UsageError, match=f"port {port} is taken here"),
            tunnel.to_board(f"user@other:{port}", 40123),
        ):
            pass
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", port)) != 0


def test_what_ssh_says_is_passed_on(argv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_SAYS", "user@nano: Permission denied (publickey).")
    with (
        pytest.raises(MissingError, match=r"ssh user@nano: .*Permission denied"),
        tunnel.to_board(f"user@nano:{free_port()}", 40123),
    ):
        pass


def test_no_ssh_and_no_destination_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tunnel.parse("user@nano") == ("user@nano", 9090)
    for text in ("", ":9090", "-oProxyCommand=x", "user@nano:port"):
        with pytest.raises(UsageError, match="give USER@HOST"):
            tunnel.parse(text)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with (
        pytest.raises(MissingError, match="openssh-client"),
        tunnel.to_board(f"user@nano:{free_port()}", 1),
    ):
        pass
