from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from tars import picture, samples, write

from tvmkd import config, data
from tvmkd.base.errors import InputError
from tvmkd.data import decoded


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def load(path: Path, **options):
    return data.load(config.Data(dataset="webdataset", path=path, image_size=8, **options))


def counts(splits) -> list[int]:
    return [len(part.labels) for part in (splits.train, splits.val, splits.test)]


def test_shards_are_split_by_their_names(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number in range(2):
        write(root / f"digits-train-{number:03}.tar", samples(20 * number, 20))
    write(root / "digits-val-000.tar", samples(100, 6))
    write(root / "test" / "000.tar", samples(120, 8))
    splits = load(root)
    assert counts(splits) == [40, 6, 8]
    assert splits.classes == ("0", "1")
    assert splits.train.labels.tolist() == [number % 2 for number in range(40)]
    (root / "classes.txt").write_text("even\nodd\n")
    assert load(root).classes == ("even", "odd")
    few = load(root / "digits-{train-000,val-000}.tar", val_fraction=0.1)
    assert counts(few) == [18, 2, 6]


def test_pictures_and_order_are_the_same_however_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    write(root / "0.tar", samples(0, 20))
    write(root / "1.tar", samples(20, 20))
    kept = load(root, val_fraction=0.2, test_fraction=0.2)
    assert counts(kept) == [24, 8, 8]
    everything = torch.arange(24)
    monkeypatch.setattr(decoded, "CACHE_BYTES", 0)
    for workers in (1, 2):
        lazy = load(root, val_fraction=0.2, test_fraction=0.2, workers=workers)
        assert not lazy.train.in_memory
        assert lazy.sha256 == kept.sha256
        assert torch.equal(lazy.train.get(everything), kept.train.get(everything))
    facts = kept.preprocessing
    pixels = kept.train.get(everything)[:, 0, 0, 0] * facts["std"][0] + facts["mean"][0]
    shades = (pixels * 255).round().int().tolist()
    assert [shade % 2 for shade in shades] == kept.train.labels.tolist()
    assert load(root, val_fraction=0.2, split_seed=1).sha256 != kept.sha256


def test_a_changed_shard_changes_the_hash(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tar", samples(0, 20))
    before, facts = load(path).sha256, path.stat()
    content = path.read_bytes()
    path.write_bytes(content.replace(picture(3), picture(3)[:-1] + b"x", 1))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert load(path).sha256 != before


def test_bad_shards_are_one_line(tmp_path: Path) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            load(path)
        assert "\n" not in str(caught.value)

    write(tmp_path / "a" / "train-0.tar", samples(0, 10))
    write(tmp_path / "a" / "more.tar", samples(10, 10))
    refused(tmp_path / "a", r"more\.tar: belongs to no split")
    write(tmp_path / "b" / "val-0.tar", samples(0, 10))
    refused(tmp_path / "b", "none of its 1 shards is of a training split")
    write(tmp_path / "c" / "0.tar", {"0.png": picture(1)})
    refused(tmp_path / "c", "no image in its shards has a label")
    write(tmp_path / "d" / "0.tar", samples(0, 10, classes=1))
    refused(tmp_path / "d", "its images have 1 classes")
    write(tmp_path / "e" / "0.tar", {**samples(0, 10), "0003.png": b"no picture"})
    refused(tmp_path / "e", r"0\.tar/0003\.png: cannot be read as an image")
    write(tmp_path / "f" / "0.tar", samples(0, 10))
    (tmp_path / "f" / "classes.txt").write_bytes(b"\xff\n")
    refused(tmp_path / "f", r"classes\.txt: is no UTF-8")


def test_damaged_pictures_of_large_sets_are_told_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "CACHE_BYTES", 0)
    bad = {"0003.png": b"no picture", "0007.png": b"neither"}
    write(tmp_path / "0.tar", {**samples(0, 10), **bad})
    with pytest.raises(InputError, match=r"2 images cannot be read: .*0003\.png .*0007\.png "):
        load(tmp_path / "0.tar")
