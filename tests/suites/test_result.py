from __future__ import annotations

import json
from pathlib import Path

import pytest
import samples

from tvmkd.base.errors import InputError
from tvmkd.suites import result
from tvmkd.suites.result import Entry, Result


def made() -> Result:
    return Result(
        tool="t",
        created="c",
        suite="mine",
        device="cpu",
        networks=[
            Entry(name="a", state="done", seconds=3.0),
            Entry(name="b", state="failed", reason="no"),
            Entry(name="c", state="left", reason="later"),
        ],
    )


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    found = made()
    found.save(tmp_path)
    assert result.load(tmp_path) == found
    assert [found.count(state) for state in ("done", "failed", "left")] == [1, 1, 1]


def test_comparisons_are_of_what_is_done(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    comparison = samples.comparison(samples.engine("tvm", 1.0))
    comparison.save(tmp_path / "a" / result.COMPARISON)
    ((entry, found),) = made().comparisons(tmp_path)
    assert entry.name == "a"
    assert found == comparison


def test_a_folder_without_a_result(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no suite\.json"):
        result.load(tmp_path)
    (tmp_path / result.FILE).write_text(json.dumps({"suite": 3}))
    with pytest.raises(InputError, match="not the result of a suite"):
        result.load(tmp_path)
