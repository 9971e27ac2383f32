from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detection_sets import annotation, cats, picture, voc
from PIL import Image

from tvmkd import config, data
from tvmkd.base.errors import InputError, UsageError
from tvmkd.data.detection.crops import NONE, write_crops
from tvmkd.data.detection.dataset import DetectionImages
from tvmkd.data.detection.scenes import Recipe, load_scenes
from tvmkd.data.detection.splits import DetectionSplits
from tvmkd.data.detection.voc import VocObject, load_voc


def test_a_classifier_takes_what_is_written(tmp_path: Path) -> None:
    splits = load_scenes(tmp_path / "scenes", Recipe(60, 40, 40, size=64))
    count = write_crops(splits, tmp_path / "crops", 16)
    cfg = {"dataset": "folder", "path": tmp_path / "crops", "image_size": 16}
    found = data.load(config.Data.model_validate(cfg))
    assert NONE in found.classes
    parts = [found.train.labels, found.val.labels, found.test.labels]
    assert sum(map(len, parts)) == count
    assert len(parts[0]) > splits.train.annotations[0].objects


def test_a_crop_shows_its_object_and_places_without_one_show_none(tmp_path: Path) -> None:
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[20:40, 20:40] = 255
    root = voc(tmp_path / "set", {f"i{n}": [VocObject("cat", (20, 20, 40, 40))] for n in range(12)})
    for path in (root / "JPEGImages").iterdir():
        Image.fromarray(pixels).save(path)
    for path in (root / "Annotations").iterdir():
        text = (
            path.read_text().replace("<width>24", "<width>60").replace("<height>16", "<height>60")
        )
        path.write_text(text)
    write_crops(load_voc(root), tmp_path / "crops", 30)
    cut = [np.asarray(Image.open(path)) for path in (tmp_path / "crops").rglob("cat/*.png")]
    assert len(cut) == 12
    for image in cut:
        assert image.shape == (30, 30, 3)
        assert (image[13:17, 13:17] > 250).all()
        assert 0.35 < (image > 128).mean() < 0.55  # the object, and a margin of half its side
    nothing = [np.asarray(Image.open(path)) for path in (tmp_path / "crops").rglob("none/*.png")]
    assert nothing
    assert max((image > 128).mean() for image in nothing) < 0.75


def test_files_of_one_name_and_crowds(tmp_path: Path) -> None:
    parts = []
    for first in (0, 10, 20):
        images = [picture(tmp_path / f"cam{first + n}" / "1.png") for n in range(3)]
        parts.append([annotation(path, first + n, crowds=1) for n, path in enumerate(images)])
    train, val, test = (DetectionImages(part, crowds=True) for part in parts)
    splits = DetectionSplits(train, val, test, ("cat",), "0" * 64)
    count = write_crops(splits, tmp_path / "crops", 8)
    files = list((tmp_path / "crops").rglob("*.png"))
    assert len(files) == count
    assert sum(path.parent.name == "cat" for path in files) == 9


@pytest.mark.parametrize("name", ["none", "../../etc", ".hidden", "a/b"])
def test_a_class_that_is_no_folders_name_is_refused(tmp_path: Path, name: str) -> None:
    objects = {f"i{n}": [VocObject(name, (2, 3, 10, 12))] for n in range(8)}
    splits = load_voc(voc(tmp_path / "set", objects))
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        write_crops(splits, tmp_path / "crops", 16)
    assert not (tmp_path / "crops").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    splits = load_voc(voc(tmp_path / "set", cats(8)))
    (tmp_path / "crops").mkdir()
    with pytest.raises(InputError, match="is there already"):
        write_crops(splits, tmp_path / "crops", 16)
    with pytest.raises(UsageError, match="size has to be"):
        write_crops(splits, tmp_path / "other", 4)
