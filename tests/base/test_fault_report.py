"""What a fault report contains, where it is written, and which secrets it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.base import fault_report
from tvmkd.base.errors import InternalError
from tvmkd.base.version import __version__


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "tvmkd" / "reports"


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_report_has_versions_the_command_and_both_tracebacks(folder: Path) -> None:
    error = raised(InternalError("it broke"))
    error.details = "Traceback of the worker"
    path = fault_report.write(error, ["build", "my model.onnx", "-o", "out"])
    assert path is not None
    assert path.parent == folder
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert text.startswith(f"tvmkd {__version__}, ")
    assert "command: tvmkd build 'my model.onnx' -o out\n" in text
    assert "numpy " in text
    assert "in raised" in text
    assert "InternalError: it broke" in text
    assert text.endswith("In the worker:\n\nTraceback of the worker")


def test_keys_and_passwords_are_left_out() -> None:
    words = ["tune", "--rpc-key", "k1", "--rpc-key=k2", "--ssh", "me@nano", "http://me:pw@host/x"]
    shown = fault_report.without_secrets(words)
    assert shown == [
        "tune",
        "--rpc-key",
        "...",
        "--rpc-key=...",
        "--ssh",
        "...",
        "http://...@host/x",
    ]
    path = fault_report.write(raised(ValueError("at http://me:pw@host/x")), words)
    assert path is not None
    assert not [secret for secret in ("k1", "k2", "pw", "me@") if secret in path.read_text()]


def test_only_the_newest_reports_are_kept(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(30):
        (folder / f"fault-20200101-0000{number:02}-1.txt").touch()
    path = fault_report.write(raised(ValueError("x")), [])
    left = sorted(item.name for item in folder.iterdir())
    assert len(left) == fault_report.KEPT
    assert path is not None
    assert left[-1] == path.name
    assert left[0] == "fault-20200101-000011-1.txt"


def test_where_there_is_no_state_folder_the_report_is_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = fault_report.write(raised(ValueError("x")), [])
    assert path is not None
    assert path.parent == tmp_path
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    assert fault_report.write(raised(ValueError("x")), []) is None
