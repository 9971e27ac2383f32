from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.stages.run_folder import RunFolder


def finished(path: Path) -> Path:
    with RunFolder(path) as folder:
        (path / "out.txt").write_text("result")
        folder.finish("export", "key", [path / "out.txt"], {"answer": 42}, 1.5)
    return path


def test_a_stage_is_done_until_what_it_reads_changes(tmp_path: Path) -> None:
    with RunFolder(finished(tmp_path / "run")) as folder:
        assert folder.done("export", "key") == {"answer": 42}
        assert folder.done("export", "another key") is None
        assert folder.done("tune", "key") is None


def test_a_stage_is_not_done_when_its_files_changed(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    (run / "out.txt").write_text("tampered")
    with RunFolder(run) as folder:
        assert folder.done("export", "key") is None
        (run / "out.txt").unlink()
        assert folder.done("export", "key") is None


def test_someone_else_s_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"is not a run of tvmkd, so it is left alone"):
        RunFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match=r"thesis.tex: is a file"):
        RunFolder(tmp_path / "thesis.tex")


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    with RunFolder(tmp_path):
        assert json.loads((tmp_path / "state.json").read_text())["format"] == "tvmkd.run"


def refused(run: Path, written: str = "") -> None:
    """Opens a run folder, writes a file there, and fails."""
    with RunFolder(run):
        assert (run / "state.json").exists()
        if written:
            (run / written).touch()
        raise InputError("bad argument")


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "run"
    with pytest.raises(InputError, match="bad argument"):
        refused(run)
    assert list(tmp_path.iterdir()) == []
    given = tmp_path / "given"
    given.mkdir()
    with pytest.raises(InputError):
        refused(given)
    assert list(tmp_path.rglob("*")) == [given]


def test_what_a_run_has_written_stays_after_an_error(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InputError):
        refused(run, "checkpoint.pt")
    assert {path.name for path in run.iterdir()} == {"checkpoint.pt", "state.json", ".lock"}
    with pytest.raises(InputError):
        refused(run)
    assert (run / "checkpoint.pt").exists()
    with pytest.raises(InputError):
        refused(finished(tmp_path / "done"))
    assert (tmp_path / "done" / "state.json").exists()


def test_two_cannot_work_in_one_folder(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from tvmkd.stages.run_folder import RunFolder; "
        f"RunFolder(Path({str(tmp_path)!r}))"
    )
    with RunFolder(tmp_path):
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        owner = f"another process (pid {os.getpid()}) is working in this folder"
        assert f"{tmp_path}: {owner}; wait for it or give another one" in other.stderr
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged; remove this one file"),
        ("[]", "is not the state of a tvmkd run"),
        ('{"format": "tvmkd.run", "version": 2}', "is not the state of a tvmkd run"),
    ],
)
def test_a_damaged_state_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(InputError, match=message):
        RunFolder(tmp_path)
