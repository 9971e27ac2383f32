from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd import config
from tvmkd.base import resources


def test_shipped_folders_are_found() -> None:
    assert (resources.folder("targets") / "x86-64-v3.toml").is_file()
    assert config.read(resources.folder("demo") / "tvmkd.toml").project.name == "demo"
    assert resources.folder("schedules").is_dir()


def test_missing_data_is_an_error_with_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = resources.folder("targets") / "gone"
    monkeypatch.setitem(resources._PLACES, "targets", (gone, gone))
    with pytest.raises(FileNotFoundError, match="installed without its targets"):
        resources.folder("targets")


def test_caches_follow_xdg_cache_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert resources.cache("engines") == tmp_path / "tvmkd" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert resources.cache("engines") == tmp_path / "me" / ".cache" / "tvmkd" / "engines"


def test_state_follows_xdg_state_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert resources.state("reports") == tmp_path / "tvmkd" / "reports"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert resources.state("x") == tmp_path / "me" / ".local" / "state" / "tvmkd" / "x"
