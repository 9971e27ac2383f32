from __future__ import annotations

import pytest

from tvmkd.data.split_names import assign, split_of, within

TRAIN = "train Train TRAIN training tr trn train_set TrainSet training-data train2017 images_train"
VAL = "val Val valid validation dev Dev eval evaluation valid_images development val2017"
TEST = "test Test TESTING tst Test1 test_set test-images holdout hold-out ts te"
NONE = "cat station trainee shoe testament valley evil detest streets ''"


@pytest.mark.parametrize(
    ("names", "split"), [(TRAIN, "train"), (VAL, "val"), (TEST, "test"), (NONE, None)]
)
def test_names_of_splits(names: str, split: str | None) -> None:
    assert {name: split_of(name) for name in names.split()} == dict.fromkeys(names.split(), split)


def test_a_split_within_a_name() -> None:
    assert within("seg_train") == ("train", "seg")
    assert within("TestB") == ("test", "b")
    assert within("protest") is None


def test_eval_is_what_is_tested_on_beside_a_validation_split() -> None:
    assert assign(["train", "dev", "eval"], ["train", "val", "val"]) == {
        "train": ["train"],
        "val": ["dev"],
        "test": ["eval"],
    }
    assert assign(["eval", "cat"], ["val", None]) == {"val": ["eval"]}
    assert assign(["val", "valid"], ["val", "val"]) == {"val": ["val", "valid"]}
