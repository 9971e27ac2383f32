from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.data.class_labels import numbered

WHERE = Path("set")


def parts(train: list, test: list | None = None) -> dict:
    """Each picture is called like its place."""
    found = {"train": train, "test": test or []}
    return {
        name: [(Path(str(n)), label) for n, label in enumerate(part)]
        for name, part in found.items()
    }


def labels(found: dict) -> list[list[int]]:
    return [[label for _, label in part] for part in found.values()]


def test_texts_are_sorted_and_numbers_are_kept() -> None:
    names, found = numbered(WHERE, parts(["dog", "cat", "dog", "cat"], ["cat"]))
    assert (names, labels(found)) == (["cat", "dog"], [[1, 0, 1, 0], [0]])
    assert [picture.name for picture, _ in found["train"]] == list("0123")
    names, found = numbered(WHERE, parts([3, 1, 3]))
    assert (names, labels(found)) == (["0", "1", "2", "3"], [[3, 1, 3], []])
    names, _ = numbered(WHERE, parts([1, 0]), ["cat", "caf\udce9", "cow"])
    assert names == ["cat", "caf\\xe9", "cow"]


@pytest.mark.parametrize(
    ("train", "test", "names", "message"),
    [
        ([1, "cat"], [], [], r'some labels are numbers \(1\), some are texts \("cat"\)'),
        ([0, -1], [], [], "a label is -1, but classes are counted from 0"),
        ([0, 2], [], ["a", "b"], "a label is 2, but there are 2 class names"),
        ([0, 10**9], [], [], "a label is 1000000000"),
        ([1, 1], [], [], "its images have 1 classes"),
        (["a", "a"], [], [], "its images have 1 classes"),
        ([], [], [], "its images have 0 classes"),
        (
            ["a dog runs", "two cats", "a hat"],
            [],
            [],
            "3 different labels on 3 images.*descriptions",
        ),
        ([0, 1], [1, 2], [], "the test split has classes that no training image has: 2"),
    ],
)
def test_labels_that_are_no_classes_are_one_line(train, test, names, message: str) -> None:
    with pytest.raises(InputError, match=f"^set: .*{message}") as caught:
        numbered(WHERE, parts(train, test), names)
    assert "\n" not in str(caught.value)
