from __future__ import annotations

import os
from pathlib import Path

import fake_nano
import pytest

from tvmkd.base.errors import MissingError, UsageError
from tvmkd.boards import facts
from tvmkd.boards.sysfs import Tree
from tvmkd.deploy.monitoring import over_ssh


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``ssh`` whose board is a folder, with its own shell."""
    tool = tmp_path / "bin" / "ssh"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\n"
        'while [ "$1" != "--" ]; do shift; done\n'
        'case "$2" in *gone) echo "warning: x" >&2; echo "No route to host" >&2; exit 255;;\n'
        "*slow) exec sleep 20;; esac\n"
        f'TVMKD_BOARD_ROOT="{tmp_path / "board"}" exec sh -c "$3"\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    return fake_nano.plant(tmp_path / "board", celsius=50.5)


def test_a_board_tells_as_much_as_its_own_server(ssh: Path) -> None:
    # The names of TensorRT's files are not asked for.
    found, wanted = over_ssh.ask("me@nano"), facts.of_files(Tree(ssh))
    assert found == {**wanted, "tensorrt": None}
    assert (found["model"], found["celsius"]) == ("NVIDIA Jetson Nano Developer Kit", 50.5)
    assert found["watts"] == 2.346


def test_a_file_that_cannot_be_read_is_unknown(ssh: Path) -> None:
    (ssh / "sys/class/thermal/thermal_zone1/temp").unlink()
    (ssh / "sys/class/thermal/thermal_zone1/temp").mkdir()
    assert [zone["zone"] for zone in over_ssh.ask("me@nano")["thermal"]] == ["AO-therm"]


def test_a_board_that_does_not_answer(ssh: Path) -> None:
    with pytest.raises(over_ssh.Unanswered, match=r"^No route to host$"):
        over_ssh.ask("me@gone")
    with pytest.raises(over_ssh.Unanswered, match=r"does not answer in 0\.5 s"):
        over_ssh.ask("me@slow", 0.5)


def test_no_destination_and_no_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give USER@HOST"):
        over_ssh.ask("-oProxyCommand=evil")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="ssh is not installed"):
        over_ssh.ask("me@nano")


def test_content_may_have_any_lines() -> None:
    text = "\1/a\2one\ntwo:\n\1/b:c\2\1/d\2x"
    assert over_ssh.listed(text) == {"/a": "one\ntwo:\n", "/b:c": "", "/d": "x"}
    assert over_ssh.listed("banner of a shell\n\1/a\2x") == {"/a": "x"}
