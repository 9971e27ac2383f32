from __future__ import annotations

import pytest
import torch
from detection_sets import SIZE, cats, picture, voc

from tvmkd.base.errors import InputError
from tvmkd.data.detection.splits import Division
from tvmkd.data.detection.voc import VocObject, load_voc

PETS = {
    "one": [VocObject("dog", (0, 0, 24, 16)), VocObject("cat", (2, 3, 10, 12), difficult=True)],
    "two": [VocObject("cat", (5, 6, 7, 8))],
    "three": [],
    "four": [VocObject("dog", (1, 1, 2, 2))],
    "five": [VocObject("cat", (1, 1, 9, 9))],
}
LISTS = {"train": ["one", "three"], "val": ["two"], "test": ["four", "five"]}


def stems(images):
    return [entry.image.stem for entry in images.annotations]


def test_what_is_written_is_read(tmp_path):
    splits = load_voc(voc(tmp_path, PETS, **LISTS))
    assert splits.classes == ("cat", "dog")
    assert stems(splits.train) == ["one", "three"]
    assert stems(splits.val) == ["two"]
    assert stems(splits.test) == ["four", "five"]
    image, target = splits.train[0]
    assert image.shape == (3, SIZE[1], SIZE[0])
    assert target["boxes"].tolist() == [[0, 0, 24, 16], [2, 3, 10, 12]]
    assert target["labels"].tolist() == [2, 1]
    assert target["difficult"].tolist() == [False, True]
    # An annotation without objects is a negative.
    assert splits.train[1][1]["boxes"].shape == (0, 4)
    numbers = [e.image_id for p in (splits.train, splits.val, splits.test) for e in p.annotations]
    assert sorted(numbers) == list(range(5))


def test_voc_counts_pixels_from_one(tmp_path):
    voc(tmp_path, PETS, **LISTS)
    text = (tmp_path / "Annotations" / "one.xml").read_text()
    assert "<xmin>1</xmin>" in text
    assert "<xmax>24</xmax>" in text
    assert "<ymax>16</ymax>" in text


def test_a_given_class_map_sets_the_labels(tmp_path):
    splits = load_voc(voc(tmp_path, PETS, **LISTS), classes=["bird", "dog", "cat"])
    assert splits.train.target(0)["labels"].tolist() == [2, 3]
    with pytest.raises(InputError, match=r'one\.xml: "dog" is not one of the 2 classes.*"dogs"'):
        load_voc(tmp_path, classes=["cat", "dogs"])


def test_a_folder_without_lists_is_split_by_the_seed(tmp_path):
    voc(tmp_path, cats(20))
    splits, again = load_voc(tmp_path), load_voc(tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [13, 3, 4]
    assert splits.sha256 == again.sha256
    other = load_voc(tmp_path, division=Division(split_seed=1))
    assert stems(other.test) != stems(splits.test)


def test_trainval_stands_in_for_train(tmp_path):
    names = list(cats(12))
    voc(tmp_path, cats(12), trainval=names[:10], test=names[10:])
    splits = load_voc(tmp_path, division=Division(val_fraction=0.2))
    assert stems(splits.test) == names[10:]
    assert sorted(stems(splits.train) + stems(splits.val)) == names[:10]
    assert len(splits.val) == 2


def test_columns_blank_lines_and_missing_sizes(tmp_path):
    voc(tmp_path, PETS, **LISTS)
    (tmp_path / "ImageSets/Main/train.txt").write_text("one  1\n\nthree -1\none 1\n")
    path = tmp_path / "Annotations" / "one.xml"
    path.write_text(path.read_text().replace("<width>24</width>", "<width>0</width>"))
    splits = load_voc(tmp_path)
    assert stems(splits.train) == ["one", "three"]
    assert splits.train.annotations[0].size == SIZE


def test_names_with_spaces(tmp_path):
    named = {f"IMG {name}": objects for name, objects in cats(6).items()}
    names = list(named)
    voc(tmp_path, named, train=names[:4], val=names[4:5], test=[f"{names[5]}  1"])
    with pytest.raises(InputError, match=r"IMG"):
        load_voc(tmp_path)  # a flag after a name with a space is no name
    voc(tmp_path, named, train=names[:4], val=names[4:5], test=names[5:])
    assert stems(load_voc(tmp_path).train) == names[:4]


def test_fractions_of_pixels_and_counting_from_zero(tmp_path, capsys):
    """Both are found in the wild: VOC2011 has corners as 45.7, LabelImg's begin with 0."""
    voc(tmp_path, PETS, **LISTS)
    path = tmp_path / "Annotations" / "two.xml"
    text = path.read_text().replace("<xmin>6</xmin>", "<xmin>0</xmin>")
    path.write_text(text.replace("<ymin>7</ymin>", "<ymin>6.5</ymin>"))
    target = load_voc(tmp_path).val.target(0)
    assert torch.equal(target["boxes"], torch.tensor([[0.0, 5.5, 7.0, 8.0]]))
    assert not capsys.readouterr().err


def test_a_box_that_sticks_out_is_cut_with_a_warning(tmp_path, capsys):
    objects = PETS | {"two": [VocObject("cat", (5, 6, 40, 8))]}
    splits = load_voc(voc(tmp_path, objects, **LISTS))
    assert splits.val.target(0)["boxes"].tolist() == [[5, 6, 24, 8]]
    assert "1 boxes stuck out" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</annotation>", "", "cannot be read as XML: "),
        (
            "<annotation>",
            '<!DOCTYPE a [<!ENTITY b "c">]><annotation>',
            "cannot be read as XML: DTD",
        ),
        ("<name>cat</name>", "", "an object has no name"),
        ("<xmin>6</xmin>", "", 'object/bndbox/xmin is "", not a number'),
        ("<xmin>6</xmin>", "<xmin>left</xmin>", 'object/bndbox/xmin is "left", not a number'),
        ("<width>24</width>", "<width>nan</width>", 'size/width is "nan", not a number'),
        ("<xmin>6</xmin>", "<xmin>9</xmin>", "has its corners the wrong way round"),
        ("<name>cat</name>", "<name>horse</name>", '"horse" is not one of the 2 classes'),
    ],
)
def test_bad_annotations_are_one_line(tmp_path, old, new, message):
    voc(tmp_path, PETS, **LISTS)
    path = tmp_path / "Annotations" / "two.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=rf"two\.xml: .*{message}") as caught:
        load_voc(tmp_path, classes=["cat", "dog"])
    assert "\n" not in str(caught.value)


def test_bad_folders_are_one_line(tmp_path):
    def refused(root, message):
        with pytest.raises(InputError, match=message) as caught:
            load_voc(root)
        assert "\n" not in str(caught.value)

    refused(tmp_path, "has no folder Annotations")
    root = tmp_path / "gone"
    voc(root, PETS, **LISTS)
    (root / "JPEGImages" / "four.png").unlink()
    refused(root, r"JPEGImages/four\.png: there is no such image, but .*four\.xml annotates it")
    root = tmp_path / "bare"
    voc(root, PETS, **LISTS)
    (root / "Annotations" / "four.xml").unlink()
    refused(root, r"Annotations/four\.xml: missing, but .*test\.txt has that image")
    root = tmp_path / "unlisted"
    voc(root, cats(5))
    picture(root / "JPEGImages" / "new.png")
    refused(root, r"new\.xml: missing, but .*JPEGImages/new\.png has that image")
    root = tmp_path / "leak"
    voc(root, PETS, train=["one", "two"], test=["two", "four"])
    refused(root, r"test\.txt: two is in train\.txt too")
    root = tmp_path / "headless"
    voc(root, PETS, test=["one"])
    refused(root, r"no train\.txt")
    root = tmp_path / "blank"
    voc(root, {name: [] for name in "abcd"})
    refused(root, "none of its 4 images has an object")
    root = tmp_path / "hollow"
    voc(root, {})
    refused(root, "JPEGImages: there is no such folder")
    (root / "JPEGImages").mkdir()
    refused(root, "Annotations: no annotations")


def test_an_annotation_may_not_pull_in_other_files(tmp_path):
    voc(tmp_path, PETS, **LISTS)
    (tmp_path / "secret").write_text("cat")
    path = tmp_path / "Annotations" / "two.xml"
    entity = f'<!DOCTYPE a [<!ENTITY s SYSTEM "{tmp_path}/secret">]><annotation>'
    text = path.read_text().replace("<annotation>", entity).replace(">cat<", ">&s;<")
    path.write_text(text)
    with pytest.raises(InputError, match="DTD"):
        load_voc(tmp_path)


def test_other_names_of_the_lists(tmp_path):
    lists = {"Training": LISTS["train"], "valid": LISTS["val"], "TEST": LISTS["test"]}
    voc(tmp_path, PETS, **lists, cat_train=["one"])
    train = tmp_path / "ImageSets" / "Main" / "Training.txt"
    train.write_bytes(b"\xef\xbb\xbf" + train.read_bytes())
    splits = load_voc(tmp_path)
    assert [stems(part) for part in (splits.train, splits.val, splits.test)] == [
        LISTS["train"],
        LISTS["val"],
        LISTS["test"],
    ]
    (train.parent / "validation.txt").write_text("two\n")
    with pytest.raises(InputError, match=r"valid\.txt, validation\.txt are all named like the val"):
        load_voc(tmp_path)
