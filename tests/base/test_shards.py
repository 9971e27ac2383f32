from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tvmkd.base import shards
from tvmkd.base.errors import InputError, MissingError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train-1.tar", "train-0.tar", "val/0.tar", "notes.txt", ".hidden.tar"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def names(path: Path, folder: Path) -> list[str]:
    return [found.relative_to(folder).as_posix() for found in shards.listed(path)]


def test_a_folder_a_file_and_braces_name_shards(folder: Path) -> None:
    assert names(folder, folder) == ["train-0.tar", "train-1.tar", "val/0.tar"]
    assert names(folder / "val" / "0.tar", folder) == ["val/0.tar"]
    assert names(folder / "{train-{0..1},val/0}.tar", folder) == [
        "train-0.tar",
        "train-1.tar",
        "val/0.tar",
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone", "gone: there is no such file or folder; set"),
        ("train-{0..3}.tar", r"train-2\.tar: there is no .*2 of 4 shards are missing"),
        ("train-{0..3.tar", "a brace is not closed"),
        ("train-{0..200}.tar", "more than 100 shards"),
    ],
)
def test_bad_paths_are_one_line(
    folder: Path, path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MOST", 100)
    with pytest.raises(InputError, match=message) as caught:
        shards.listed(folder / path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_shards_and_compressed_ones_are_refused(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no \.tar"):
        shards.listed(folder / "empty")
    (folder / "x.tar.gz").write_text("")
    with pytest.raises(InputError, match=r"x\.tar\.gz: is compressed"):
        shards.listed(folder)


def test_the_package_that_braces_need_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    with pytest.raises(MissingError, match=r"braceexpand: pip install 'tvmkd\[data\]'"):
        shards.listed(folder / "train-{0..1}.tar")
    assert len(shards.listed(folder)) == 3


def test_the_hash_of_a_listing_changes_with_its_files(folder: Path) -> None:
    path = folder / "train-{0..1}.tar"
    before = shards.listing_hash(path)
    assert before == shards.listing_hash(path) != shards.listing_hash(folder)
    os.utime(folder / "val" / "0.tar", (1, 1))
    assert shards.listing_hash(path) == before
    (folder / "classes.txt").write_text("cat\ndog\n")
    named = shards.listing_hash(path)
    os.utime(folder / "train-1.tar", (1, 1))
    assert len({before, named, shards.listing_hash(path)}) == 3
    (folder / "train-1.tar").unlink()
    assert shards.listing_hash(path) is None
