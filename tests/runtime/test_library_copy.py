"""A library is loaded from a copy, so that its file may change; old copies are removed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.runtime import library_copy as copies
from tvmkd.runtime.library_copy import library_copy


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for table in ("_copies", "_folders", "_in_place"):
        monkeypatch.setattr(copies, table, {})
    return folder


def written(path: Path, text: bytes) -> Path:
    path.write_bytes(text)
    return path


def test_another_content_has_another_path(tmp_path: Path) -> None:
    library = written(tmp_path / "model.so", b"first")
    first, digest = library_copy(library)
    assert digest == hashlib.sha256(b"first").hexdigest()
    second, _ = library_copy(written(library, b"second"))  # in place: the same inode
    assert first != second
    assert (first.read_bytes(), second.read_bytes()) == (b"first", b"second")


def test_the_same_content_is_copied_once(tmp_path: Path, place: Path) -> None:
    paths = {library_copy(written(tmp_path / name, b"x"))[0] for name in ("a.so", "b.so", "a.so")}
    (folder,) = place.iterdir()
    assert list(folder.iterdir()) == list(paths)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_copy_that_was_removed_is_made_again(tmp_path: Path) -> None:
    library = written(tmp_path / "model.so", b"x")
    library_copy(library)[0].unlink()
    assert library_copy(library)[0].read_bytes() == b"x"


def test_a_library_that_cannot_be_read_is_an_error(tmp_path: Path, place: Path) -> None:
    with pytest.raises(FileNotFoundError):
        library_copy(tmp_path / "gone.so")
    with pytest.raises(OSError, match="directory"):
        library_copy(tmp_path)
    assert [path for folder in place.iterdir() for path in folder.iterdir()] == []


def test_where_temporary_files_cannot_be_written_the_cache_is_used(
    tmp_path: Path, place: Path
) -> None:
    place.rmdir()
    path, _ = library_copy(written(tmp_path / "model.so", b"x"))
    assert path.is_relative_to(tmp_path / "cache" / "tvmkd")


def test_a_mount_without_execution_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Facts:
        f_flag = os.ST_NOEXEC

    monkeypatch.setattr(os, "statvfs", lambda _: Facts)
    library = written(tmp_path / "model.so", b"x")
    assert library_copy(library)[0] == library.resolve()


def test_without_any_folder_a_path_is_loaded_from_once(tmp_path: Path, place: Path) -> None:
    place.rmdir()
    written(tmp_path / "cache", b"a file is in the way")
    library = written(tmp_path / "model.so", b"first")
    assert library_copy(library) == library_copy(library)
    assert library_copy(library)[0] == library.resolve()
    written(library, b"second")
    with pytest.raises(InputError, match=r"model\.so: .*another library.*set TMPDIR"):
        library_copy(library)


PROGRAM = """
import os, sys
from pathlib import Path
from tvmkd.runtime.library_copy import library_copy
print(library_copy(Path(sys.argv[1]))[0], flush=True)
if len(sys.argv) > 2:
    os._exit(0)
"""


def test_nothing_stays_after_the_process(tmp_path: Path, place: Path) -> None:
    library = written(tmp_path / "model.so", b"x")
    command = [sys.executable, "-c", PROGRAM, str(library)]
    env = {**os.environ, "TMPDIR": str(place)}
    killed = subprocess.run([*command, "killed"], env=env, capture_output=True, check=True)
    left = Path(killed.stdout.decode().strip()).parent
    assert left.parent == place
    assert left.is_dir()
    ours = library_copy(library)[0].parent
    assert list(place.iterdir()) == [ours]  # what the killed process left is removed
    subprocess.run(command, env=env, capture_output=True, check=True)
    assert list(place.iterdir()) == [ours]
