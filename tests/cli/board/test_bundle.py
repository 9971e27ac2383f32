"""``tvmkd board bundle``: with the real archive where it can be made, else with a fake."""

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


def test_each_file_with_what_it_needs_of_the_board(
    tvmkd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def make(target: targets.Target, output: Path, *, tell: Any) -> dict[str, Any]:
        calls.append((target.name, output))
        tell("linking")
        needs = {"GLIBCXX": "3.4.22", "GLIBC": "2.27"}
        return {
            "files": {
                "server": {"bytes": 2048, "needs": needs},
                "start.sh": {"bytes": 512, "needs": {}},
            },
            "bytes": 3 << 20,
            "sha256": "abc",
        }

    monkeypatch.setattr(bundle, "bundle", make)
    out = tmp_path / "nano.tar.gz"
    done = tvmkd("board", "bundle", "--target", "jetson-nano", "-o", out)
    assert done.code == 0
    assert calls == [("jetson-nano", out)]
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[:2] == [
        ["server", "2", "KiB", "GLIBC", "2.27,", "GLIBCXX", "3.4.22"],
        ["start.sh", "0", "KiB"],
    ]
    assert done.out.splitlines()[2] == f"{out}: 3.0 MiB, sha256 abc"
    assert "linking" in done.err


@pytest.mark.parametrize("missing", ["--target", "--output"])
def test_the_board_and_the_archive_have_to_be_given(tvmkd: Any, missing: str) -> None:
    given = {"--target": "jetson-nano", "--output": "a.tar.gz"}
    argv = [word for name, value in given.items() if name != missing for word in (name, value)]
    done = tvmkd("board", "bundle", *argv)
    assert done.code == 2
    assert "Missing option" in done.err
    assert missing in done.err


def test_bad_places_and_boards_are_one_line(tvmkd: Any, tmp_path: Path) -> None:
    done = tvmkd("board", "bundle", "--target", "jetson-nanno", "-o", tmp_path / "a.tar.gz")
    assert (done.code, list(tmp_path.iterdir())) == (4, [])
    done = tvmkd("board", "bundle", "--target", "jetson-nano", "-o", tmp_path / "no" / "a.tar.gz")
    assert done.code == 4
    assert "its folder is missing" in done.line
