from __future__ import annotations

import pytest

from tvmkd import config, resources


def test_shipped_folders_are_found() -> None:
    assert (resources.folder("targets") / "x86-64-v3.toml").is_file()
    assert config.read(resources.folder("demo") / "tvmkd.toml").project.name == "demo"
    assert resources.folder("schedules").is_dir()


def test_an_installation_without_its_data_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = resources.folder("targets") / "gone"
    monkeypatch.setitem(resources._PLACES, "targets", (gone, gone))
    with pytest.raises(FileNotFoundError, match="installed without its targets"):
        resources.folder("targets")
