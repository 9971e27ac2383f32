from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvmkd.base import files
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


def test_keys_differ_by_what_is_read() -> None:
    keys = {
        files.key("tune", trials=1),
        files.key("tune", trials=2),
        files.key("build", trials=1),
        files.key("tune", trials=1, onnx="x"),
    }
    assert len(keys) == 4
    assert files.key("tune", a=1, b=2) == files.key("tune", b=2, a=1)


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


def test_two_cannot_work_in_one_folder(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from tvmkd.stages.run_folder import RunFolder; "
        f"RunFolder(Path({str(tmp_path)!r}))"
    )
    with RunFolder(tmp_path):
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert "another tvmkd is working in this folder" in other.stderr
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


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["x.json"]


def test_folder_hashes_see_names_and_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = files.file_hash(folder)
    (folder / ".lock").write_text("")
    assert files.file_hash(folder) == first, "hidden files do not count"
    (folder / "a").rename(folder / "b")
    second = files.file_hash(folder)
    (folder / "b").write_text("2")
    assert len({first, second, files.file_hash(folder)}) == 3


def test_listing_hashes_see_a_touched_image(tmp_path: Path) -> None:
    image = tmp_path / "cat" / "1.png"
    image.parent.mkdir()
    image.write_bytes(b"png")
    first = files.listing_hash(tmp_path)
    os.utime(image, (1, 1))
    assert files.listing_hash(tmp_path) != first
    assert files.listing_hash(None) is None
    assert files.listing_hash(tmp_path / "gone") is None


def test_the_user_s_model_code_counts(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def net(): ...")
    first = files.source_hash("mine:net", [tmp_path])
    (tmp_path / "mine.py").write_text("def net(): return 1")
    assert None is not first != files.source_hash("mine:net", [tmp_path])
    assert files.source_hash("residual") is None
    assert files.source_hash("torchvision:resnet18") is None
