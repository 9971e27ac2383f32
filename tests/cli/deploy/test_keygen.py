from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import InputError
from tvmkd.deploy.bundles import signing


def _answers(monkeypatch: pytest.MonkeyPatch, given: Sequence[str]) -> None:
    answers = iter(given)
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: next(answers))


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _never(_: str) -> str:
    raise AssertionError("the key is not encrypted")


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_a_pair_without_a_password(tvmkd: Any, tmp_path: Path, umask: int) -> None:
    secret, public = tmp_path / "keys/release.key", tmp_path / "keys/release.pub"
    before = os.umask(umask)
    try:
        done = tvmkd("deploy", "keygen", secret, "--no-password")
    finally:
        os.umask(before)
    assert done.code == 0, done.err
    assert sorted(os.listdir(secret.parent)) == ["release.key", "release.pub"]
    assert _mode(secret) == 0o600
    assert _mode(public) & 0o444 == 0o444, "everybody may have the public key"
    number = signing.key_id(signing.public_key(public))
    first, second = done.out.splitlines()
    assert first == f"{secret}: the secret key; keep it where no board and no repository is"
    assert second == f"{public}: the public key {number}; boards get it by --pubkey"
    key = signing.secret_key(secret, _never)
    signature = signing.sign(key, b"data", "comment")
    assert signing.verify(signing.public_key(public), b"data", signature, "x") == "comment"
    # Nothing secret on the screen.
    assert secret.read_text().splitlines()[1] not in done.out + done.err


def test_a_password_is_asked_for_twice(
    tvmkd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "a.key"
    _answers(monkeypatch, ["words", "other", "words", "words"])
    done = tvmkd("deploy", "keygen", secret)
    assert done.code == 0, done.err
    assert "words" not in done.out + done.err
    assert _mode(secret) == 0o600
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "words"

    signing.secret_key(secret, ask)
    assert asked == [f"password of {secret}: "]
    with pytest.raises(InputError, match="wrong password"):
        signing.secret_key(secret, lambda _: "other")


@pytest.mark.parametrize("there", ["release.key", "release.pub"])
def test_no_key_is_ever_replaced(tvmkd: Any, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("the only one")
    done = tvmkd("deploy", "keygen", tmp_path / "release.key", "--no-password")
    assert done.code == 2
    assert done.line.startswith(f"{tmp_path / there}: exists, and keys are not replaced")
    assert os.listdir(tmp_path) == [there]
    assert (tmp_path / there).read_text() == "the only one"


@pytest.mark.parametrize("name", ["release", "release.pub"])
def test_names_that_leave_no_room_for_the_public_key(tvmkd: Any, tmp_path: Path, name: str) -> None:
    done = tvmkd("deploy", "keygen", tmp_path / name, "--no-password")
    assert done.code == 2
    assert "give a name such as release.key" in done.line
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_written(tvmkd: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = tvmkd("deploy", "keygen", tmp_path / "file/release.key", "--no-password")
    assert done.code == 4, done.err
    assert "release" in done.line
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("fails_at", [1, 2], ids=["secret", "public"])
def test_a_full_disk_leaves_no_key(
    tvmkd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    done = tvmkd("deploy", "keygen", tmp_path / "release.key", "--no-password")
    assert done.code == 4, done.err
    name = ("release.key", "release.pub")[fails_at - 1]
    assert done.line.startswith(f"{tmp_path / name}: the disk is full")
    assert os.listdir(tmp_path) == []


def test_a_folder_is_no_key(tvmkd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = tvmkd("deploy", "keygen", ".", "--no-password")
    assert done.code == 4
    assert done.line == ".: is a folder; give a file's name in it, such as release.key"


def test_no_terminal_to_ask_at(tmp_path: Path) -> None:
    # In a session of its own it has no terminal, whatever the test has.
    done = subprocess.run(
        [sys.executable, "-m", "tvmkd", "deploy", "keygen", tmp_path / "release.key"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.returncode == 2
    line = "there is no terminal to ask for the key's password; give --no-password"
    assert f"tvmkd: error: {line}" in done.stderr.splitlines()
    assert "Warning" not in done.stderr
    assert os.listdir(tmp_path) == []
