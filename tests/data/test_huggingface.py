from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tvmkd import config, data
from tvmkd.base.errors import InputError, MissingError
from tvmkd.data import decoded
from tvmkd.data.huggingface import Row

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()

FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["even", "odd"]),
    }
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Whoever asks for the network fails.
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("the network"))


def table(first: int, count: int, features=FEATURES, **columns):
    numbers = range(first, first + count)
    rows = {
        "id": [f"row {number}" for number in numbers],
        "image": [Image.new("RGB", (12, 10), (number, number, 9)) for number in numbers],
        "label": [number % 2 for number in numbers],
    }
    return datasets.Dataset.from_dict({**rows, **columns}, features=features)


def load(path: Path, **options):
    return data.load(config.Data(dataset="huggingface", path=path, image_size=8, **options))


def counts(splits) -> list[int]:
    return [len(part.labels) for part in (splits.train, splits.val, splits.test)]


def test_what_the_library_saved_is_read_and_not_what_it_hides(tmp_path: Path, monkeypatch) -> None:
    root = tmp_path / "set"
    # Rows may be chosen by an index that is stored beside them.
    table(0, 50).select(range(40)).shuffle(seed=3).save_to_disk(root)
    kept = load(root, val_fraction=0.2, test_fraction=0.2)
    assert counts(kept) == [24, 8, 8]
    assert kept.classes == ("even", "odd")
    everything = torch.arange(24)
    facts = kept.preprocessing
    pixels = kept.train.get(everything)[:, 0, 0, 0] * facts["std"][0] + facts["mean"][0]
    shades = (pixels * 255).round().int().tolist()
    assert [shade % 2 for shade in shades] == kept.train.labels.tolist()
    assert max(shades) < 40
    monkeypatch.setattr(decoded, "CACHE_BYTES", 0)
    lazy = load(root, val_fraction=0.2, test_fraction=0.2, workers=2)
    assert lazy.sha256 == kept.sha256
    assert torch.equal(lazy.train.get(everything), kept.train.get(everything))


def test_splits_have_their_names(tmp_path: Path) -> None:
    parts = {"train": table(0, 20), "validation": table(20, 6), "test": table(30, 8)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "all")
    assert counts(load(tmp_path / "all")) == [20, 6, 8]
    del parts["validation"]
    # A label of -1 is none: a test split without labels is no test split.
    parts["unsupervised"] = table(0, 4, label=[-1] * 4)
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "some")
    assert counts(load(tmp_path / "some", val_fraction=0.1)) == [18, 2, 8]


def test_splits_that_number_their_classes_differently_mean_the_same_ones(tmp_path: Path) -> None:
    """As ``DatasetDict.class_encode_column`` does, where a split lacks a class."""

    def part(first: int, names: list[str], labels: list[int]) -> datasets.Dataset:
        kinds = datasets.Features({**FEATURES, "label": datasets.ClassLabel(names=names)})
        return table(first, len(labels), kinds, label=labels)

    train = part(0, ["a", "b", "c"], [0, 1, 2] * 4)
    parts = {"train": train, "validation": part(20, ["a", "c"], [0, 1, 1]), "test": train}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    splits = load(tmp_path / "set")
    assert splits.classes == ("a", "b", "c")
    assert splits.val.labels.tolist() == [0, 2, 2]
    parts["validation"] = part(20, ["a", "d", "unused"], [0, 1, 1])
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "more")
    with pytest.raises(InputError, match="val split has classes that the train split has not: d"):
        load(tmp_path / "more")


def test_parquet_files_and_folders_of_images_are_read(tmp_path: Path) -> None:
    root = tmp_path / "parquet" / "data"
    root.mkdir(parents=True)
    table(0, 20).to_parquet(root / "train-00000-of-00001.parquet")
    table(20, 6).to_parquet(root / "validation-00000-of-00001.parquet")
    table(30, 8).to_parquet(root / "test-00000-of-00001.parquet")
    splits = load(tmp_path / "parquet")
    assert (counts(splits), splits.classes) == ([20, 6, 8], ("even", "odd"))
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(5):
                Image.new("RGB", (9, 9)).save(tmp_path / "images" / split / name / f"{number}.png")
    (tmp_path / "images" / "images.py").write_text("raise SystemExit('code was run')")
    splits = load(tmp_path / "images", val_fraction=0.2)
    assert (counts(splits), splits.classes) == ([8, 2, 10], ("cat", "dog"))


def test_a_file_that_was_replaced_is_read_whatever_its_time(tmp_path: Path) -> None:
    root = tmp_path / "a [1] *"  # no pattern
    root.mkdir()
    path = root / "train.parquet"
    for first in (0, 20):
        table(first, 10).to_parquet(path)
        os.utime(path, (1e9, 1e9))
        found = load(root, val_fraction=0.2, test_fraction=0.2).train.get(torch.arange(6))
        shades = (found[:, 0, 0, 0] * 0.229 + 0.485) * 255
        assert ((shades > first - 0.5) & (shades < first + 9.5)).all()


def test_a_saved_format_does_not_change_what_is_read(tmp_path: Path) -> None:
    table(0, 20).with_format("torch").save_to_disk(tmp_path / "set")
    assert load(tmp_path / "set").classes == ("even", "odd")


@pytest.mark.parametrize(
    ("dtype", "labels", "classes"),
    [
        ("string", ["cat", "dog"], ("cat", "dog")),
        ("large_string", ["cat", "dog"], ("cat", "dog")),
        ("uint8", [1, 0], ("0", "1")),
        ("bool", [True, False], ("0", "1")),
    ],
)
def test_labels_may_be_plain_values(tmp_path: Path, dtype, labels, classes) -> None:
    features = datasets.Features({**FEATURES, "label": datasets.Value(dtype)})
    table(0, 10, features, label=labels * 5).save_to_disk(tmp_path / "set")
    found = load(tmp_path / "set")
    assert found.classes == classes
    assert found.train.labels.dtype == torch.int64


def test_bad_folders_are_one_line(tmp_path: Path) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            load(path)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "gone", "gone: there is no such folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty: cannot be read by datasets")
    whole = table(0, 10)
    whole.remove_columns("label").save_to_disk(tmp_path / "a")
    refused(tmp_path / "a", "has no column of classes; its columns are id, image")
    whole.remove_columns("image").save_to_disk(tmp_path / "b")
    refused(tmp_path / "b", "has no column of images; its columns are id, label")
    twice = whole.add_column("kind", [0] * 10).cast_column("kind", FEATURES["label"])
    twice.rename_column("label", "sort").save_to_disk(tmp_path / "c")
    refused(tmp_path / "c", "has several columns of classes.*name the one to learn label")
    datasets.DatasetDict({"dev": whole, "test": whole}).save_to_disk(tmp_path / "d")
    refused(tmp_path / "d", "has the splits dev, test; wanted are one train")
    raw = {
        **FEATURES,
        "image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
    }
    cells = [{"bytes": b"no picture", "path": None}] * 10
    bad = table(0, 10, datasets.Features(raw), image=cells).cast_column("image", datasets.Image())
    bad.save_to_disk(tmp_path / "e")
    refused(tmp_path / "e", r"10 images cannot be read: .*e/all/0 ")
    (next((tmp_path / "e").glob("*.arrow"))).write_bytes(b"no table")
    refused(tmp_path / "e", "e: cannot be read by datasets")


def test_a_picture_that_is_elsewhere_is_not_fetched() -> None:
    cells = [{"image": {"bytes": None, "path": path}} for path in ("https://x/1.png", None)]
    for index in range(2):
        with pytest.raises(OSError, match="nothing is downloaded"):
            Row(cells, "image", index, Path("set/train")).read()
    with pytest.raises(OSError, match="no image"):
        Row([{"image": None}], "image", 0, Path("set/train")).read()


def test_the_package_is_named_with_its_command(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        MissingError, match=r"needs datasets; install it: pip install 'tvmkd\[data\]'"
    ):
        load(tmp_path)
