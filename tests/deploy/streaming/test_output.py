from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from streams import result, table

from tvmkd.base.errors import InputError
from tvmkd.deploy.streaming import output
from tvmkd.deploy.streaming import result as results


def test_a_folder_has_the_result_the_page_and_every_frame(tmp_path: Path) -> None:
    made, rows = result([5.0, 6.0]), table([5.0, 6.0])
    output.write(tmp_path / "new", made, rows)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "frames.npz",
        "stream.html",
        "stream.json",
    ]
    assert results.load(tmp_path / "new" / "stream.json") == made
    with np.load(tmp_path / "new" / "frames.npz") as saved:
        assert saved["finish"].tolist() == rows[:, 6].tolist()
        assert saved["exit"].dtype == np.int64


def test_a_full_disk_leaves_no_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="the disk is full"):
        output.write(tmp_path / "new", result([5.0, 6.0]), table([5.0, 6.0]))
    assert list(tmp_path.iterdir()) == []
