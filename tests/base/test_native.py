"""Libraries are compiled once, and a compiler that fails leaves no file."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from tvmkd.base import native
from tvmkd.base.errors import MissingError
from tvmkd.byoc import regions
from tvmkd.runtime import relay_threads


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tvmkd" / "native"


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:

    path = tmp_path / "seven.c"
    path.write_text("int seven(void) { return SEVEN; }\n")
    return path


def test_a_library_is_compiled_once(cache: Path, source: Path) -> None:
    path = native.library(source, "cc", ["-DSEVEN=7"])
    assert ctypes.CDLL(str(path)).seven() == 7
    before = path.stat().st_mtime_ns
    assert native.library(source, "cc", ["-DSEVEN=8"]) == path
    assert path.stat().st_mtime_ns == before
    assert [entry.name for entry in cache.iterdir()] == [path.name]


def test_another_source_or_version_is_another_library(cache: Path, source: Path) -> None:
    first = native.library(source, "cc", ["-DSEVEN=7"], "1.0")
    second = native.library(source, "cc", ["-DSEVEN=8"], "1.1")
    assert first != second
    source.write_text(source.read_text() + "\n")
    assert native.library(source, "cc", ["-DSEVEN=7"], "1.0") not in (first, second)


def test_a_compiler_that_fails_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/bin/false")
    with pytest.raises(MissingError, match=r"cannot compile parallel_launch.c .*apt install gcc"):
        native.library(relay_threads.SOURCE, "cc", [])
    with pytest.raises(MissingError, match=r"cannot compile region.cc .*apt install g\+\+"):
        native.library(regions.NATIVE / "region.cc", "c++", [])
    assert not list(cache.glob("*.so"))
