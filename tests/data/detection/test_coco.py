from __future__ import annotations

import json
from pathlib import Path

import pytest
from detection_sets import coco

from tvmkd.base.errors import InputError
from tvmkd.data.detection.coco import load_coco


def car(x=2, y=3, w=8, h=9, **facts):
    return {"category_id": 3, "bbox": [x, y, w, h]} | facts


def three(root, train=None):
    coco(root, "train2017", train or [[car()], [car(category_id=90)], []])
    coco(root, "val2017", [[car()], [car(1, 1, 20, 10, iscrowd=1)]], first=50)
    coco(root, "test2017", [[car()]], first=70)
    return root


def test_ids_with_gaps_become_labels_from_one(tmp_path):
    splits = load_coco(three(tmp_path))
    assert splits.classes == ("car", "toothbrush")
    assert [splits.train.target(n)["labels"].tolist() for n in range(3)] == [[1], [2], []]
    image, target = splits.train[0]
    assert target["boxes"].tolist() == [[2, 3, 10, 12]]
    assert target["image_id"] == 1
    assert image.shape == (3, 16, 24)
    assert [part.annotations[0].image_id for part in (splits.val, splits.test)] == [50, 70]


def test_crowds_are_kept_for_the_metric_alone(tmp_path):
    three(tmp_path, [[car(), car(0, 0, 20, 12, iscrowd=1)], [car()]])
    splits = load_coco(tmp_path)
    assert splits.train.target(0)["boxes"].tolist() == [[2, 3, 10, 12]]
    assert splits.val.target(1)["iscrowd"].tolist() == [True]
    assert splits.val.target(1)["boxes"].tolist() == [[1, 1, 21, 11]]


@pytest.mark.parametrize("folder", ["", "images", "images/train2017"])
def test_where_the_images_may_be(tmp_path, folder):
    coco(tmp_path, "train2017", [[car()] for _ in range(10)])
    place = tmp_path / folder
    place.mkdir(parents=True, exist_ok=True)
    for path in (tmp_path / "train2017").iterdir():
        path.rename(place / path.name)
    assert load_coco(tmp_path).train[0][0].shape == (3, 16, 24)


def test_one_file_is_split_here(tmp_path):
    coco(tmp_path, "default", [[car()] for _ in range(20)])
    splits = load_coco(tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [13, 3, 4]
    assert load_coco(tmp_path).sha256 == splits.sha256


def test_boxes_that_stick_out_or_have_no_area(tmp_path, capsys):
    three(tmp_path, [[car(20, 3, 30, 5), car(1, 1, 0, 4)], [car()]])
    splits = load_coco(tmp_path)
    assert splits.train.target(0)["boxes"].tolist() == [[20, 3, 24, 8]]
    said = " ".join(capsys.readouterr().err.split())
    assert "1 boxes have no area and were left out" in said
    assert "1 boxes stuck out of their images" in said


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([car(category_id=4)], "image 1 has category_id 4, which is not one of its categories"),
        ([car(image_id=99)], "image_id 99 is no image's id"),
        ([car(30, 3, 5, 5)], r"000000000001\.png: box 1 .* lies outside of its image"),
        ([car(5, 5, -3, 2)], r"000000000001\.png: box 1 .* the wrong way round"),
        ([{"category_id": 3}], r"not COCO's JSON: annotations\.0\.bbox: Field required"),
        ([car(bbox=[1, 2, 3])], r"not COCO's JSON: annotations\.0\.bbox"),
        ([car(bbox=[1, 2, "x", 3])], r"not COCO's JSON: annotations\.0\.bbox\.2"),
    ],
)
def test_bad_objects_are_one_line(tmp_path, objects, message):
    three(tmp_path, [objects, [car()]])
    with pytest.raises(InputError, match=rf"instances_train2017\.json: .*{message}") as caught:
        load_coco(tmp_path)
    assert "\n" not in str(caught.value)


def test_bad_files_are_one_line(tmp_path):
    def refused(root, message):
        with pytest.raises(InputError, match=message) as caught:
            load_coco(root)
        assert "\n" not in str(caught.value)

    refused(tmp_path, r"annotations: no instances_\*\.json")
    path = coco(tmp_path / "broken", objects=[[car()]])
    path.write_text(path.read_text()[:-20])
    refused(tmp_path / "broken", r"train2017\.json: is not COCO's JSON: Invalid JSON")
    path = coco(tmp_path / "twice", objects=[[car()], [car()]])
    content = json.loads(path.read_text())
    content["images"][1]["id"] = 1
    path.write_text(json.dumps(content))
    refused(tmp_path / "twice", "the image id 1 is there twice")
    coco(tmp_path / "names", categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}])
    refused(tmp_path / "names", "an id or a name of its categories is there twice")
    coco(three(tmp_path / "differ"), "val2017", categories=[{"id": 3, "name": "bus"}])
    refused(tmp_path / "differ", r"val2017\.json: its categories are not those of .*train2017")
    root = three(tmp_path / "gone")
    (root / "train2017" / "000000000002.png").unlink()
    refused(root, r"000000000002\.png: there is no such image, but .*train2017\.json annotates it")
    root = three(tmp_path / "moved")
    (root / "val2017").rename(root / "elsewhere")
    refused(root, r"val2017\.json: its image 000000000050\.png is in none of .*val2017, ")
    root = three(tmp_path / "years")
    coco(root, "train2014", [[car()]])
    refused(root, r"train2017\.json: instances_train2014\.json is there too")
    coco(tmp_path / "blank", "default", [[], [], []])
    refused(tmp_path / "blank", "none of its 3 images has an object")
    root = tmp_path / "headless"
    coco(root, "val2017", [[car()]])
    coco(root, "test2017", [[car()]])
    refused(root, r"no instances_train\*\.json")


def test_the_same_image_in_two_splits_is_refused(tmp_path):
    for name in ("train", "val"):
        coco(tmp_path, name, [[car()], [car()]])
    for folder in ("train", "val"):
        for path in (tmp_path / folder).iterdir():
            path.rename(tmp_path / path.name)
    with pytest.raises(InputError, match=r"val\.json: .*\.png is in instances_train\.json too"):
        load_coco(tmp_path)


def test_images_that_are_elsewhere(tmp_path, monkeypatch):
    root = three(tmp_path / "set")
    (root / "train2017").rename(tmp_path / "disk")
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    for entry in content["images"]:
        entry["file_name"] = str(tmp_path / "disk" / entry["file_name"])
    path.write_text(json.dumps(content))
    splits = load_coco(root)
    assert splits.train[0][0].shape == (3, 16, 24)
    monkeypatch.chdir(tmp_path)
    assert load_coco(Path("set")).sha256 == splits.sha256


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("Train", "Valid", "TEST"), ("train", "val", "test")),
        (("training", "validation", "testing"), ("training", "validation", "testing")),
        (("train2017", "val2017", "test2017"), ("Train", "valid", "tst")),
    ],
)
def test_other_names_of_the_splits(tmp_path, names, folders):
    for number, (name, folder) in enumerate(zip(names, folders, strict=True)):
        coco(tmp_path, name, [[car()] for _ in range(3 - number)], first=1 + 10 * number)
        (tmp_path / name).rename(tmp_path / f"_{name}")
        (tmp_path / f"_{name}").rename(tmp_path / folder)
    splits = load_coco(tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [3, 2, 1]


def test_annotations_beside_the_images_of_each_split(tmp_path):
    for number, name in enumerate(("train", "valid", "test")):
        path = coco(tmp_path, name, [[car()] for _ in range(3 - number)], first=1 + 10 * number)
        content = b"\xef\xbb\xbf" + path.read_bytes()
        (tmp_path / name / "_annotations.coco.json").write_bytes(content)
        path.unlink()
    splits = load_coco(tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [3, 2, 1]
