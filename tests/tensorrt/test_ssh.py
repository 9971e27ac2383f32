from __future__ import annotations

import sys
from pathlib import Path

import fake_board
import pytest

from tvmkd.base.errors import MissingError, UsageError
from tvmkd.tensorrt.ssh import RemoteEngine


def test_ssh_is_called_in_batch_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = fake_board.plant(tmp_path, Path(sys.executable), monkeypatch)
    with RemoteEngine("user@nano"):
        given = argv.read_text().splitlines()
    assert given[-2:] == ["--", "user@nano"]
    assert "BatchMode=yes" in given
    monkeypatch.setenv("SSH_SAYS", "user@nano: Permission denied (publickey).")
    with pytest.raises(MissingError, match=r"ssh user@nano: .*Permission denied") as caught:
        RemoteEngine("user@nano")
    assert caught.value.exit_code == 5


def test_an_invalid_destination_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", "-oProxyCommand=x", "user@nano -v"):
        with pytest.raises(UsageError, match="give USER@HOST"):
            RemoteEngine(text)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(MissingError, match="openssh-client"):
        RemoteEngine("user@nano")
