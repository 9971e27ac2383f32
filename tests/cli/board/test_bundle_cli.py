from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tvmkd import targets
from tvmkd.base import wheels
from tvmkd.base.errors import MissingError
from tvmkd.boards import bundle


def test_the_archive_and_its_facts_as_json(tvmkd: Any, tmp_path: Path) -> None:
    try:
        bundle.runtime(targets.load("jetson-nano"))
    except MissingError as error:
        pytest.skip(str(error))
    out = tmp_path / "nano.tar.gz"
    done = tvmkd("board", "bundle", "--target", "jetson-nano", "-o", out, "--json")
    assert done.code == 0
    made = json.loads(done.out)
    assert made["bytes"] == out.stat().st_size
    assert set(made["files"]) >= {bundle.SERVER, *wheels.NAMES, "start.sh", "tvmkd-board.service"}
    with tarfile.open(out) as archive:
        assert {name.split("/")[0] for name in archive.getnames()} == {"tvmkd-board"}


def test_bad_places_and_boards_are_one_line(tvmkd: Any, tmp_path: Path) -> None:
    done = tvmkd("board", "bundle", "--target", "jetson-nanno", "-o", tmp_path / "a.tar.gz")
    assert (done.code, list(tmp_path.iterdir())) == (4, [])
    done = tvmkd("board", "bundle", "--target", "jetson-nano", "-o", tmp_path / "no" / "a.tar.gz")
    assert done.code == 4
    assert "its folder is missing" in done.line
