"""The cache gives back what was stored, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

from tvmkd.base.blob_cache import BlobCache


def test_a_value_is_found_by_its_key_in_another_process_too(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "made" / "here")
    assert cache.get("a") is None
    cache.put("a", b"one")
    cache.put("b", b"")
    cache.put("a", b"two")
    other = BlobCache(tmp_path / "made" / "here")
    assert (other.get("a"), other.get("b"), other.get("c")) == (b"two", b"", None)
    assert sorted(path.name for path in (tmp_path / "made" / "here").iterdir()) == ["a", "b"]


def test_a_damaged_value_is_as_if_it_had_not_been_stored(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path)
    for damage in (lambda data: data[:-1], lambda data: data[:-1] + b"?", lambda data: b""):
        cache.put("a", b"value")
        path = tmp_path / "a"
        path.write_bytes(damage(path.read_bytes()))
        assert cache.get("a") is None
        assert not path.exists()


def test_a_folder_that_cannot_be_written_stores_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = BlobCache(tmp_path / "file")
    cache.put("a", b"value")
    assert cache.get("a") is None
    cache.trim()


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, limit=4 * (32 + 100))
    for number, name in enumerate("abcd"):
        cache.put(name, bytes(100))
        os.utime(tmp_path / name, (number, number))
    cache.trim()
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "d"]
    assert cache.get("a") is not None  # used now
    cache.put("e", bytes(100))
    (tmp_path / ".old").write_bytes(b"")
    os.utime(tmp_path / ".old", (1, 1))
    (tmp_path / ".new").write_bytes(b"")
    cache.trim()  # down to three quarters of the limit
    assert sorted(os.listdir(tmp_path)) == [".new", "a", "d", "e"]
