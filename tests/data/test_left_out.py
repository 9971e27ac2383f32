from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.base import walk
from tvmkd.data.left_out import LeftOut


def test_one_line_with_counts_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = LeftOut(tmp_path)
    assert left.line() == ""
    for name in ("a.pic", "b.PIC", "c", "d.jxl"):
        assert not left.picture(tmp_path / name)
    assert left.picture(tmp_path / "e.JPG")
    left(walk.DANGLING, tmp_path / "f")
    line = left.line()
    assert line.startswith(f"{tmp_path}: left out: 2 .pic, ")
    for part in ("1 files without an ending", "1 .jxl (this Pillow", "1 links to nothing"):
        assert part in line
    left.report()
    left.report()
    assert capsys.readouterr().err.count("warning: ") == 1


def test_what_nobody_misses_is_no_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = LeftOut(tmp_path)
    left(walk.HIDDEN, tmp_path / ".DS_Store")
    left.picture(tmp_path / "labels.csv")
    left.report()
    said = capsys.readouterr().err
    assert "1 .csv" in said
    assert "warning" not in said
