from __future__ import annotations

from dataclasses import replace

import pytest
from detection_sets import annotation, picture

from tvmkd.base.errors import InputError, UsageError
from tvmkd.data.detection.splits import Division, build


def make(root, count, *, start=0, objects=1):
    return [
        annotation(picture(root / f"{n}.png", n), n, objects) for n in range(start, start + count)
    ]


def ids(images):
    return [entry.image_id for entry in images.annotations]


def parts_of(splits):
    return [ids(part) for part in (splits.train, splits.val, splits.test)]


def test_a_folder_that_is_not_split_is_split_by_a_seed(tmp_path):
    everything = {"all": make(tmp_path, 20) + make(tmp_path, 10, start=20, objects=0)}
    division = Division(val_fraction=0.2, test_fraction=0.3)
    splits = build(everything, ["a"], tmp_path, division)
    parts = parts_of(splits)
    assert sorted(number for part in parts for number in part) == list(range(30))
    # Images without objects are divided as those with: 20 and 10, then what is left of them.
    assert [sum(n < 20 for n in part) for part in parts] == [10, 4, 6]
    assert [sum(n >= 20 for n in part) for part in parts] == [5, 2, 3]
    assert len(splits.classes) == 1
    assert parts_of(build(everything, ["a"], tmp_path, division)) == parts
    other = build(everything, ["a"], tmp_path, replace(division, split_seed=1))
    assert parts_of(other) != parts
    assert other.sha256 != splits.sha256


def test_splits_that_are_there_are_kept(tmp_path):
    train, val, test = (make(tmp_path, 3, start=start) for start in (0, 3, 6))
    splits = build({"train": train, "val": val, "test": test}, ["a"], tmp_path)
    assert parts_of(splits) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert [part.crowds for part in (splits.train, splits.val, splits.test)] == [False, True, True]


@pytest.mark.parametrize("held", ["val", "test"])
def test_one_part_that_is_held_out_is_the_test_split(tmp_path, held):
    parts = {"train": make(tmp_path, 10), held: make(tmp_path, 3, start=10)}
    train, val, test = parts_of(build(parts, ["a"], tmp_path, Division(val_fraction=0.2)))
    assert test == [10, 11, 12]
    assert (len(train), len(val)) == (8, 2)
    assert sorted(train + val) == list(range(10))


def test_the_hash_covers_pixels_boxes_and_classes(tmp_path):
    def digest(classes=("a",), boxes=0.0):
        parts = {
            name: make(tmp_path, 1, start=n) for n, name in enumerate(("train", "val", "test"))
        }
        first = parts["train"][0]
        parts["train"] = [replace(first, boxes=first.boxes + boxes)]
        if shade is not None:
            picture(first.image, shade)
        return build(parts, classes, tmp_path).sha256

    shade = None
    before = digest()
    assert digest() == before
    assert digest(boxes=1.0) != before
    assert digest(classes=("b",)) != before
    shade = 77
    assert digest() != before


def test_clipped_boxes_are_one_warning(tmp_path, capsys):
    parts = {
        name: make(tmp_path, 2, start=2 * n) for n, name in enumerate(("train", "val", "test"))
    }
    build(parts, ["a"], tmp_path)
    assert not capsys.readouterr().err
    parts["val"] = [replace(entry, clipped=2) for entry in parts["val"]]
    build(parts, ["a"], tmp_path)
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("warning:")
    assert "4 boxes stuck out of their images and were cut" in said
    assert said.endswith("2.png")


def test_nothing_to_learn_is_refused(tmp_path):
    def refused(parts, message):
        with pytest.raises(InputError, match=message) as caught:
            build(parts, ["a"], tmp_path)
        assert "\n" not in str(caught.value)

    refused({"all": make(tmp_path, 4, objects=0)}, "none of its 4 images has an object")
    refused({"all": []}, "no images for the train split")
    refused({"all": make(tmp_path, 1)}, "no images for the (val|test) split")
    empty = make(tmp_path, 2, start=2, objects=0)
    parts = {"train": make(tmp_path, 2), "val": empty, "test": make(tmp_path, 2, start=4)}
    refused(parts, "none of the 2 images of the val split has an object")
    crowds = [annotation(picture(tmp_path / "c.png"), 9, 0, crowds=3)]
    refused({"all": crowds}, "none of its 1 images has an object")


@pytest.mark.parametrize(
    "fractions", [{"val_fraction": 0.0}, {"test_fraction": -0.1}, {"val_fraction": 0.8}]
)
def test_fractions_that_leave_nothing(fractions):
    with pytest.raises(UsageError, match="val_fraction and test_fraction"):
        Division(**fractions)
