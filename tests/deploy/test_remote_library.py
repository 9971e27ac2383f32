"""A standalone library on another machine: QEMU, or this machine behind a fake ssh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sample_library

from tvmkd import targets
from tvmkd.base.errors import InputError, MissingError
from tvmkd.boards import emulate
from tvmkd.deploy.remote_library import RemoteLibrary

X = np.array([[1, 2, 3, 4]], np.float32)
COUNTS = np.array([1, 2, 3], np.int64)
SSH = """#!/bin/sh
if [ -n "$SSH_SAYS" ]; then echo "$SSH_SAYS" >&2; exit 255; fi
for command; do :; done  # the last argument
cd / && XDG_CACHE_HOME="$BOARD_CACHE" exec sh -c "$command"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a board that a fake ``ssh`` reaches: this machine."""
    for name in ("bin", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("BOARD_CACHE", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "home"


def check(remote: RemoteLibrary) -> None:
    y, total = remote.run([X, COUNTS])
    assert np.array_equal(y, 2 * X + 1)
    assert total.tolist() == [6]
    found = remote.time(20, 5.0)
    assert len(found["ns"]) == 20
    assert found["resident_bytes"] > 100_000
    assert {"celsius", "throttled"} <= set(found)
    assert remote.facts["board"]["cores"] > 0


def test_over_ssh(home: Path, tmp_path: Path) -> None:
    host = targets.load("host")
    library = sample_library.shared(host, tmp_path / "libsample.so")
    with RemoteLibrary(library, host, "user@board", threads=1) as remote:
        assert remote.facts["threads"] == 1
        assert remote.facts["board"]["emulated"] is False
        assert len(list((home / "tvmkd").glob("run-*/tvmkd-run"))) == 1
        check(remote)
    assert list((home / "tvmkd").glob("run-*")) == [], "nothing stays on the board"


@pytest.mark.board
def test_under_qemu(tmp_path: Path) -> None:
    if emulate.why_not() is not None:
        pytest.skip(str(emulate.why_not()))
    nano = targets.load("jetson-nano")
    library = sample_library.shared(nano, tmp_path / "libsample.so")
    with RemoteLibrary(library, nano, None) as remote:
        assert remote.facts["board"]["emulated"] is True
        assert remote.facts["board"]["machine"] == "aarch64"
        check(remote)


def test_what_does_not_load_there(home: Path, tmp_path: Path) -> None:
    host = targets.load("host")
    (tmp_path / "libbad.so").write_text("no library")
    with pytest.raises(InputError, match=r"libbad\.so on user@board: .*not a shared library"):
        RemoteLibrary(tmp_path / "libbad.so", host, "user@board")


def test_a_board_that_is_not_there(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = targets.load("host")
    library = sample_library.shared(host, tmp_path / "libsample.so")
    monkeypatch.setenv("SSH_SAYS", "ssh: connect to host board port 22: No route to host")
    with pytest.raises(MissingError, match="No route to host"):
        RemoteLibrary(library, host, "user@board")
