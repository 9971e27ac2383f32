from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tvmkd.base import files
from tvmkd.base.known_files import KnownFiles

LONG_AGO = 1_600_000_000_000_000_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files; the clock is an hour ahead, so that none of them is young."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tvmkd.base.known_files._YOUNG_NS", -3_600_000_000_000)
    root = tmp_path / "data"
    root.mkdir()
    for name in "abc":
        (root / name).write_text(name)
    return root


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are hashed."""
    names: list[str] = []
    hashed = files.sha256

    def count(path: Path) -> str:
        names.append(path.name)
        return hashed(path)

    monkeypatch.setattr(files, "sha256", count)
    return names


def wanted(paths: list[Path]) -> list[bytes]:
    return [hashlib.sha256(path.read_bytes()).digest() for path in paths]


def test_only_what_changed_is_read_again(folder: Path, read: list[str]) -> None:
    paths = sorted(folder.iterdir())
    first = KnownFiles(folder)
    assert first.total(paths) == 3
    assert first.hashes(paths) == wanted(paths)
    first.save()
    assert sorted(read) == ["a", "b", "c"]
    (folder / "b").write_text("B")
    os.utime(folder / "b", ns=(LONG_AGO, LONG_AGO))  # by its mtime it is no younger
    (folder / "d").write_text("d")
    paths = sorted(folder.iterdir())
    read.clear()
    second = KnownFiles(folder)
    assert [path.name for path in second.new(paths)] == ["b", "d"]
    assert second.hashes(paths) == wanted(paths)
    assert sorted(read) == ["b", "d"]


def test_a_file_that_is_known_without_its_hash_is_hashed_once(
    folder: Path, read: list[str]
) -> None:
    paths = sorted(folder.iterdir())
    known = KnownFiles(folder)
    known.add(paths)
    assert known.new(paths) == read == []
    known.save()
    for times in (3, 3):
        again = KnownFiles(folder)
        assert again.new(paths) == []
        assert again.hashes(paths) == wanted(paths)
        assert len(read) == times
        again.save()


def test_a_young_file_is_not_remembered(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tvmkd.base.known_files._YOUNG_NS", 3_600_000_000_000)
    paths = sorted(folder.iterdir())
    for times in (3, 6):
        known = KnownFiles(folder)
        assert known.hashes(paths) == wanted(paths)
        known.save()
        assert len(read) == times


@pytest.mark.parametrize("text", ["", "[1]", '{"/a": 3}', '{"/a": [1, 2, 3]}', "\xff"])
def test_a_damaged_cache_is_made_anew(folder: Path, read: list[str], text: str) -> None:
    paths = sorted(folder.iterdir())
    known = KnownFiles(folder)
    known.hashes(paths)
    known.save()
    (cache,) = folder.parent.joinpath("cache").rglob("*.json")
    cache.write_text(text, encoding="latin-1")
    assert KnownFiles(folder).hashes(paths) == wanted(paths)
    assert len(read) == 6


def test_a_cache_that_cannot_be_written_is_done_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "a"))
    known = KnownFiles(folder)
    assert len(known.hashes([folder / "b"])) == 1
    known.save()


def test_names_that_are_no_utf8_are_kept_and_files_that_are_gone_are_not(
    folder: Path, read: list[str]
) -> None:
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/\xff"))
    odd.write_text("odd")
    known = KnownFiles(folder)
    known.hashes([odd, folder / "a"])
    known.save()
    again = KnownFiles(folder)
    assert again.new([odd]) == []
    os.utime(folder / "a", ns=(LONG_AGO, LONG_AGO))
    again.hashes([folder / "a"])
    odd.unlink()
    again.save()
    assert again.new([folder / "a"]) == []
    last = KnownFiles(folder)
    last.hashes([folder / "b"])
    last.save()
    (cache,) = folder.parent.joinpath("cache").rglob("*.json")
    assert list(json.loads(cache.read_text())) == ["/b"]
