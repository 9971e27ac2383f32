from __future__ import annotations

import itertools
import shlex
import subprocess

import pytest

from tvmkd.base import ssh
from tvmkd.base.errors import MissingError, UsageError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if ssh were on PATH: nothing here runs it."""
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")


@pytest.mark.parametrize(
    "destination",
    [
        "nano",
        "user@nano",
        "user@192.168.1.20",
        "user@fe80::1%eth0",
        "a-b@x.local",
        "ssh://u@h:2222",
    ],
)
def test_a_destination_is_one_word_behind_the_options(installed: None, destination: str) -> None:
    assert ssh.check_destination(destination) == destination
    given = ssh.command(destination, "true")
    assert given[-3:] == ["--", destination, "exec sh -c true"]
    assert given[0] == "ssh"


@pytest.mark.parametrize(
    "destination",
    ["", "-oProxyCommand=x", "--", "-", "user@nano -p 22", "user@nano\n", "user@\tnano", " nano"],
)
def test_what_is_no_destination(installed: None, destination: str) -> None:
    with pytest.raises(UsageError, match=r"give USER@HOST; ports and keys go into ~/\.ssh/config"):
        ssh.check_destination(destination)
    with pytest.raises(UsageError, match="give USER@HOST"):
        ssh.command(destination, "true")


def test_nothing_is_asked_and_a_dead_connection_ends(installed: None) -> None:
    given = ssh.command("user@nano", "true", "-L", "1:2:3")
    options = given[1 : given.index("--")]
    assert "-T" in options
    assert options[-2:] == ["-L", "1:2:3"]
    said = {after for before, after in itertools.pairwise(options) if before == "-o"}
    assert said == {"BatchMode=yes", "ServerAliveInterval=5", "ServerAliveCountMax=3"}


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    "script",
    [
        'printf %s "it\'s $((1 + 1)); \\$HOME"',
        "printf %s 'a  b' | cat\nprintf %s '*'",
        "x='~'; printf '%s' \"$x\" '#' \"`printf q`\" '!'",
    ],
)
def test_the_boards_shell_gets_the_script_as_it_is(
    installed: None, shell: str, script: str
) -> None:
    def printed(text: str) -> str:
        return subprocess.run([shell, "-c", text], capture_output=True, text=True).stdout

    # ssh hands its last argument to the login shell.
    sent = ssh.command("user@nano", script)[-1]
    assert shlex.split(sent) == ["exec", "sh", "-c", script]
    assert printed(sent) == printed(script) != ""


def test_without_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(MissingError, match="sudo apt-get install openssh-client"):
        ssh.command("user@nano", "true")
