from __future__ import annotations

from pathlib import Path

import pytest
from detection_sets import cats, coco, voc

from tvmkd import config, data
from tvmkd.base.errors import InputError
from tvmkd.data.detection.load import load


def section(**keys: object) -> config.Data:
    return config.Data.model_validate({"image_size": 64, **keys})


def test_each_layout_is_read_by_its_name(tmp_path: Path) -> None:
    found = load(section(dataset="voc", path=voc(tmp_path / "voc", cats(8))))
    assert found.classes == ("cat",)
    boxes = [[{"category_id": 3, "bbox": [1, 2, 5, 6]}]] * 8
    coco(tmp_path / "coco", objects=boxes)
    found = load(section(dataset="coco", path=tmp_path / "coco"))
    assert "car" in found.classes


def test_a_class_map_is_the_config_s(tmp_path: Path) -> None:
    folder = voc(tmp_path / "voc", cats(8))
    assert load(section(dataset="voc", path=folder, classes=["dog", "cat"])).classes == (
        "dog",
        "cat",
    )
    with pytest.raises(InputError, match='"cat" is not one of the 1 classes'):
        load(section(dataset="voc", path=folder, classes=["dog"]))


def test_scenes_are_drawn_once_where_caches_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cfg = section(dataset="scenes", scenes=[3, 1, 2])
    first = load(cfg)
    assert [len(part) for part in (first.train, first.val, first.test)] == [3, 1, 2]
    assert first.train.annotations[0].image.is_relative_to(tmp_path / "tvmkd")
    assert load(cfg).sha256 == first.sha256


def test_a_classifier_s_loader_refuses_boxes() -> None:
    with pytest.raises(InputError, match='dataset = "scenes" has boxes'):
        data.load(section(dataset="scenes"))
