from __future__ import annotations

import os
from pathlib import Path

import pytest

from tvmkd.base import folders
from tvmkd.base.folders import draft_folder, make_once, undone


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put(path: Path, text: str) -> None:
    with draft_folder(path) as new:
        (new / text).write_text(text)


def test_a_folder_gets_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "very" / "deep" / "out"
    with draft_folder(path) as new:
        assert not path.exists()
        # On the same disk, and with a prefix by which remains of a killed process are found.
        assert new.parent.parent == path.parent
        assert new.parent.name.startswith(".out-")
        (new / "a").write_text("a")
    assert listed(path) == ["a"]
    assert listed(path.parent) == ["out"]


def test_an_older_folder_is_replaced_whole(tmp_path: Path) -> None:
    put(tmp_path / "out", "old")
    put(tmp_path / "out", "new")
    assert listed(tmp_path / "out") == ["new"]
    assert listed(tmp_path) == ["out"]


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        put(tmp_path / "out", "a")
    finally:
        os.umask(umask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


def test_a_block_that_fails_leaves_the_older_folder(tmp_path: Path) -> None:
    put(tmp_path / "out", "old")

    def fail() -> None:
        with draft_folder(tmp_path / "out") as new:
            (new / "new").write_text("new")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert listed(tmp_path / "out") == ["old"]
    assert listed(tmp_path) == ["out"]


def test_where_folders_can_be_exchanged_the_path_is_never_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "out", "old")
    monkeypatch.setattr(Path, "replace", None)  # would leave a moment without a folder
    put(tmp_path / "out", "new")
    assert listed(tmp_path / "out") == ["new"]
    assert listed(tmp_path) == ["out"]


def test_where_folders_cannot_be_exchanged_they_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not folders._exchanged(tmp_path / "gone", tmp_path)
    put(tmp_path / "out", "old")
    monkeypatch.setattr(folders, "_exchanged", lambda *_: False)
    put(tmp_path / "out", "new")
    assert listed(tmp_path / "out") == ["new"]
    assert listed(tmp_path) == ["out"]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_where_the_last_rename_fails_the_older_folder_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise failure("no")
        return real(self, target)

    monkeypatch.setattr(folders, "_exchanged", lambda *_: False)
    put(tmp_path / "out", "old")
    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(failure):
        put(tmp_path / "out", "new")
    assert listed(tmp_path / "out") == ["old"]
    assert listed(tmp_path) == ["out"]


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    path, calls = tmp_path / "very" / "deep" / "made", []

    def fill(folder: Path) -> None:
        assert folder.parent.parent == path.parent
        assert folder.parent.name.startswith(".made-")
        assert listed(folder) == []
        calls.append(folder)
        (folder / "a").write_text("a")

    assert make_once(path, fill) == path
    assert make_once(path, fill) == path
    assert len(calls) == 1
    assert listed(path) == ["a"]
    assert listed(path.parent) == ["made"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    make_once(tmp_path / "made", lambda folder: (folder / "a").touch())
    assert listed(tmp_path / "made") == ["a"]


def test_nothing_stays_of_a_folder_that_could_not_be_filled(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "a").touch()
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        make_once(tmp_path / "made", fill)
    assert listed(tmp_path) == []


def test_the_faster_of_two_processes_wins(tmp_path: Path) -> None:
    path = tmp_path / "made"

    def slow(folder: Path) -> None:
        (folder / "slow").touch()
        make_once(path, lambda other: (other / "fast").touch())

    assert make_once(path, slow) == path
    assert listed(path) == ["fast"]
    assert listed(tmp_path) == ["made"]


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("mine")
    with pytest.raises(OSError, match="made"):
        make_once(tmp_path / "made", lambda folder: (folder / "a").touch())
    assert (tmp_path / "made").read_text() == "mine"
    assert listed(tmp_path) == ["made"]


def fill(path: Path) -> None:
    with undone(path):
        path.mkdir(parents=True, exist_ok=True)
        (path / "a").write_text("a")
        raise FileNotFoundError


def test_what_a_failed_block_made_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for path in (tmp_path / "new", tmp_path / "very" / "deep" / "out"):
        with pytest.raises(FileNotFoundError):
            fill(path)
    assert listed(tmp_path) == []
    (tmp_path / "old").mkdir()
    with pytest.raises(FileNotFoundError):
        fill(tmp_path / "old")
    assert listed(tmp_path / "old") == ["a"]
    with undone(tmp_path / "good"):
        (tmp_path / "good").mkdir()
    assert listed(tmp_path) == ["good", "old"]
