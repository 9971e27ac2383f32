from __future__ import annotations

from pathlib import Path

import pytest

from tvmkd.base.errors import InputError
from tvmkd.data import layout
from tvmkd.data.left_out import LeftOut


def tree(root: Path, *folders: str) -> Path:
    """Each folder with a picture in it; it is never opened."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / "a.png").touch()
    return root


def found(root: Path) -> dict[str, dict[str, str]]:
    parts = layout.find(root, LeftOut(root))
    return {
        split: {name: path.relative_to(root).as_posix() for name, path in classes.items()}
        for split, classes in parts.items()
    }


def places(pattern: str, **splits: str) -> dict[str, dict[str, str]]:
    return {
        split: {name: pattern.format(split=folder, name=name) for name in ("cat", "dog")}
        for split, folder in splits.items()
    }


@pytest.mark.parametrize(
    ("pattern", "splits"),
    [
        ("{split}/{name}", {"train": "train", "test": "test"}),
        ("{split}/{name}", {"train": "Train", "test": "Test"}),
        ("{split}/{name}", {"train": "training", "val": "validation"}),
        ("{split}/{name}", {"train": "TRAIN", "val": "valid", "test": "testing"}),
        ("{split}/{name}", {"train": "tr", "val": "dev", "test": "eval"}),
        ("{split}/{name}", {"train": "only_train_x", "test": "only_test_x"}),
        ("{split}/{split}/{name}", {"train": "seg_train", "test": "seg_test"}),
        ("images/{split}/{name}", {"train": "train", "val": "val"}),
        ("a/b/{split}/{name}", {"train": "train", "val": "val"}),
        ("{name}/{split}", {"train": "train", "test": "Test"}),
        ("in/{name}/{split}", {"train": "train", "test": "Test"}),
        ("{name}{split}", {"all": ""}),
        ("one/{name}{split}", {"all": ""}),
    ],
)
def test_splits_are_found(tmp_path: Path, pattern: str, splits: dict[str, str]) -> None:
    wanted = places(pattern, **splits)
    tree(tmp_path, *(path for classes in wanted.values() for path in classes.values()))
    assert found(tmp_path) == wanted


def test_a_class_may_be_named_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path, "car", "bus", "train")
    assert list(found(tmp_path)["all"]) == ["bus", "car", "train"]
    assert "train: is taken as a class; if it is a split" in capsys.readouterr().err


def test_hidden_folders_and_cycles_are_no_classes(tmp_path: Path) -> None:
    tree(tmp_path, "cat", "dog", ".thumbnails", "__MACOSX/cat")
    (tmp_path / "again").symlink_to(tmp_path)
    assert list(found(tmp_path)["all"]) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ("train test", "test, train are named like splits, but none"),
        (
            "train/cat train/dog valid/cat valid/dog val/cat",
            "val, valid are all named like",
        ),
        ("train/cat train/dog test", "test: is named like the test split but has no class folders"),
        ("train/cat train/dog bus car", "train is named like the training split, and bus, car"),
        ("cat dog test/cat test/dog", "test: is named like a split, but there is no training"),
        ("cat/train cat/test dog", "test: is named like a split, but not each class"),
        ("a/train/cat b/train/cat", "a, b each hold a train split"),
        ("trainA/cat trainA/dog testB/cat testB/dog", "hold the same sub-folders"),
    ],
)
def test_what_may_be_a_split_is_refused(tmp_path: Path, folders: str, message: str) -> None:
    tree(tmp_path, *folders.split())
    with pytest.raises(InputError, match=message) as caught:
        found(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ("eins/cat eins/dog zwei/cat zwei/dog", "hold the same sub-folders (cat, dog)"),
        ("trainA testB", "testB, trainA are taken as classes; if they are splits"),
        ("train/cat train/dog test/cat test/dog extra", "extra beside train and test left out"),
    ],
)
def test_what_may_be_a_split_is_said(
    tmp_path: Path, folders: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tree(tmp_path, *folders.split())
    found(tmp_path)
    assert message in capsys.readouterr().err
