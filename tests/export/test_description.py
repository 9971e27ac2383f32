from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from detector_files import onnx_detector

from tvmkd.base.errors import InputError
from tvmkd.export.description import describe


def test_entries_are_set_and_the_others_stay(tmp_path: Path) -> None:
    path = onnx_detector(tmp_path / "m.onnx")
    before = onnx.load(path)
    describe(path, {"one": "1", "two": "2"})
    describe(path, {"two": "3"})
    after = onnx.load(path)
    found = {entry.key: entry.value for entry in after.metadata_props}
    assert (found.pop("one"), found.pop("two")) == ("1", "3")
    assert found == {entry.key: entry.value for entry in before.metadata_props}
    assert after.graph == before.graph
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]


def test_a_folder_that_cannot_be_written_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = onnx_detector(tmp_path / "m.onnx")
    content = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tvmkd.export.description.onnx.save", full)
    with pytest.raises(InputError, match=r"m\.onnx"):
        describe(path, {"one": "1"})
    assert path.read_bytes() == content
