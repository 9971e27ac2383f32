from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toys
from detector_files import description, onnx_detector, patches, scene
from PIL import Image

from tvmkd.detection import timing


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return onnx_detector(tmp_path / "d.onnx")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(scene()).save(path)
    return path


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "WARM_UP", 0.1)


def test_a_table_of_what_is_there(tvmkd: Any, model: Path, picture: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    Image.new("RGB", (20, 20), "gray").save(empty)
    done = tvmkd("detect", model, picture, empty)
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["image", "class", "score", "x1", "y1", "x2", "y2"]
    wanted = {name: [f"{corner:.1f}" for corner in box] for name, box in patches().items()}
    assert {line[1]: line[3:] for line in lines[1:3]} == wanted
    assert lines[3] == [str(empty), "nothing", "above", "0.3"]
    assert len(lines) == 4


def test_the_threshold(tvmkd: Any, model: Path, picture: Path) -> None:
    done = tvmkd("detect", model, picture, "--threshold", "0.999")
    assert done.out.splitlines()[1:] == [f"{picture}  nothing above 0.999"]
    assert tvmkd("detect", model, picture, "--threshold", "1.5").code == 2


def test_a_calibrated_threshold_is_the_default(tvmkd: Any, picture: Path, tmp_path: Path) -> None:
    """The patches have scores of 0.9975."""
    for threshold, lines in ((0.999, 1), (0.9, 2)):
        about = description(threshold=threshold)
        path = onnx_detector(tmp_path / "calibrated.onnx", about=about)
        done = tvmkd("detect", path, picture)
        assert len(done.out.splitlines()) == 1 + lines
        assert ("nothing above 0.999" in done.out) is (threshold == 0.999)
        assert json.loads(tvmkd("detect", path, picture, "--json").out)["threshold"] == threshold
        other = tvmkd("detect", path, picture, "--threshold", "0.5", "--json")
        assert json.loads(other.out)["threshold"] == 0.5
        assert len(json.loads(other.out)["images"][0]["detections"]) == 2
    path = onnx_detector(tmp_path / "old.onnx")
    assert json.loads(tvmkd("detect", path, picture, "--json").out)["threshold"] == 0.3


def test_json_and_drawn_pictures_of_a_folder(
    tvmkd: Any, model: Path, picture: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    Image.fromarray(scene(32, 32)).save(folder / "a.bmp")
    out = tmp_path / "new" / "drawn"
    done = tvmkd("detect", model, picture, folder, "--out", out, "--json")
    assert done.code == 0, done.err
    data = json.loads(done.out)
    assert data["classes"] == ["red", "blue"]
    assert data["timing"] is None
    first, second = data["images"]
    assert (first["image"], first["width"], first["height"]) == (str(picture), 64, 32)
    assert {each["class"]: each["box"] for each in first["detections"]} == patches()
    assert [first["drawn"], second["drawn"]] == [str(out / "a.png"), str(out / "a-2.png")]
    assert sorted(path.name for path in out.iterdir()) == ["a-2.png", "a.png"]
    with Image.open(out / "a.png") as drawn:
        assert drawn.size == (448, 224)


def test_an_image_that_was_given_is_not_drawn_over(
    tvmkd: Any, model: Path, picture: Path, tmp_path: Path
) -> None:
    before = picture.read_bytes()
    done = tvmkd("detect", model, picture, "--out", tmp_path)
    assert done.code == 4
    assert done.line == f"{picture}: would be drawn over; give --out another folder"
    assert picture.read_bytes() == before


def test_time_and_budget(tvmkd: Any, model: Path, picture: Path) -> None:
    done = tvmkd("detect", model, picture, "--time", "--seconds", "0.1")
    assert done.code == 0, done.err
    assert "post-processing" in done.out
    assert "the budget of" not in done.out
    done = tvmkd("detect", model, picture, "--seconds", "0.1", "--budget", "100s")
    assert done.code == 0, done.err
    assert "the budget of 100000 ms holds" in done.out
    done = tvmkd("detect", model, picture, "--seconds", "0.1", "--budget", "1ns", "--json")
    assert done.code == 1
    found = json.loads(done.out)["timing"]
    assert found["holds"] is False
    assert found["budget_ms"] == pytest.approx(1e-6)


@pytest.mark.parametrize("text", ["30", "30MB", "ms", "0ms", "-3ms", "30ms or so", "30 parsecs"])
def test_what_is_no_budget(tvmkd: Any, model: Path, picture: Path, text: str) -> None:
    done = tvmkd("detect", model, picture, f"--budget={text}")
    assert done.code == 2
    assert "is not a time, for example 30ms" in done.err


def test_bad_input_is_one_line(tvmkd: Any, model: Path, picture: Path, tmp_path: Path) -> None:
    done = tvmkd("detect", tmp_path / "gone.onnx", picture)
    assert (done.code, done.line) == (
        4,
        f"{tmp_path / 'gone.onnx'}: there is no such ONNX file or artifact",
    )
    done = tvmkd("detect", toys.onnx_file(tmp_path / "m.onnx"), picture)
    assert done.code == 4
    assert "is no detector of tvmkd" in done.line
    done = tvmkd("detect", model, tmp_path / "gone.png")
    assert (done.code, done.line) == (
        4,
        f"{tmp_path / 'gone.png'}: there is no such image or folder",
    )
    picture.write_text("text")
    done = tvmkd("detect", model, picture)
    assert done.code == 4
    assert done.line.startswith(f"{picture}: cannot be read as an image: ")
    assert tvmkd("detect", model).code == 2
