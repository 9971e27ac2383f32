from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tvmkd import config, data
from tvmkd.base import files
from tvmkd.base.errors import InputError
from tvmkd.data import decoded


def fill(root: Path, classes: dict[str, int], *, mode: str = "RGB", tint: int = 0) -> None:
    """``count`` pictures a class, each of its own shade."""
    for label, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            shade = (tint + 40 * label + index) % 256
            Image.new("RGB", (12, 10), (shade, shade, 255 - shade)).convert(mode).save(
                root / name / f"{index:03}.png"
            )


def load(root: Path, **options):
    return data.load(config.Data(dataset="folder", path=root, image_size=8, **options))


def shades(images) -> set[tuple[float, ...]]:
    return {tuple(row.tolist()) for row in images.get(torch.arange(len(images.labels)))[:, :, 0, 0]}


def test_classes_only_are_split_by_a_seed(tmp_path):
    fill(tmp_path, {"cat": 20, "dog": 10})
    splits = load(tmp_path, val_fraction=0.2, test_fraction=0.3)
    counts = [
        torch.bincount(part.labels).tolist() for part in (splits.train, splits.val, splits.test)
    ]
    assert counts == [[10, 5], [4, 2], [6, 3]]
    assert splits.classes == ("cat", "dog")
    assert splits.channels == 3
    parts = [shades(part) for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 30
    again = load(tmp_path, val_fraction=0.2, test_fraction=0.3)
    assert again.sha256 == splits.sha256
    other = load(tmp_path, val_fraction=0.2, test_fraction=0.3, split_seed=1)
    assert shades(other.test) != shades(splits.test)
    assert other.sha256 != splits.sha256


def test_folders_that_are_split_already(tmp_path):
    for tint, name in enumerate(("train", "val", "test")):
        fill(tmp_path / name, {"a": 4, "b": 4 + tint}, tint=20 * tint)
    splits = load(tmp_path)
    assert [len(p.labels) for p in (splits.train, splits.val, splits.test)] == [8, 9, 10]


@pytest.mark.parametrize("held", ["val", "test"])
def test_one_held_out_folder_is_the_test_split(tmp_path, held):
    fill(tmp_path / "train", {"a": 10, "b": 10})
    fill(tmp_path / held, {"a": 3, "b": 3}, tint=100)
    splits = load(tmp_path, val_fraction=0.2)
    assert [len(p.labels) for p in (splits.train, splits.val, splits.test)] == [16, 4, 6]


def test_gray_is_found_or_said(tmp_path):
    fill(tmp_path, {"a": 6, "b": 6}, mode="L")
    splits = load(tmp_path)
    assert splits.shape == (1, 1, 8, 8)
    assert splits.preprocessing["color"] == "gray"
    assert load(tmp_path, channels=3).shape == (1, 3, 8, 8)


def test_pixels_are_normalised_as_stated(tmp_path):
    fill(tmp_path, {"a": 6, "b": 6})
    splits = load(tmp_path)
    facts = splits.preprocessing
    found = splits.train.get(torch.tensor([0]))[0, :, 0, 0].numpy()
    pixels = (found * facts["std"] + facts["mean"]) / facts["scale"]
    assert np.allclose(pixels, np.round(pixels), atol=1e-3)
    assert round(float(pixels[0])) + round(float(pixels[2])) == 255


def test_too_large_for_memory_gives_the_same_images(tmp_path, monkeypatch):
    fill(tmp_path, {"a": 8, "b": 8})
    kept = load(tmp_path)
    monkeypatch.setattr(decoded, "CACHE_BYTES", 0)
    lazy = load(tmp_path, workers=2)
    assert kept.train.in_memory
    assert not lazy.train.in_memory
    picks = torch.tensor([3, 1, 2])
    assert torch.equal(kept.train.get(picks), lazy.train.get(picks))
    assert torch.equal(kept.train.labels, lazy.train.labels)


def test_a_changed_picture_changes_the_hash(tmp_path):
    fill(tmp_path, {"a": 6, "b": 6})
    before = load(tmp_path).sha256
    path = tmp_path / "a" / "000.png"
    content = bytearray(path.read_bytes())
    size = path.stat().st_size
    Image.new("RGB", (12, 10), (1, 0, 255)).save(path)
    assert path.stat().st_size == size, "or the test shows nothing"
    assert load(tmp_path).sha256 != before
    path.write_bytes(bytes(content))
    assert load(tmp_path).sha256 == before


def test_bad_folders_are_one_line(tmp_path):
    def refused(root: Path, message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            load(root)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "gone", "gone: there is no such folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty: 0 sub-folders")
    fill(tmp_path / "one", {"a": 3})
    refused(tmp_path / "one", "one: 1 sub-folders.*at least two")
    fill(tmp_path / "hollow", {"a": 3})
    (tmp_path / "hollow" / "b").mkdir()
    refused(tmp_path / "hollow", r"hollow/b: no images; known are .*\.png")
    fill(tmp_path / "few", {"a": 1, "b": 1})
    refused(tmp_path / "few", "no images for the (val|test) split")
    fill(tmp_path / "odd" / "train", {"a": 3, "b": 3})
    fill(tmp_path / "odd" / "test", {"a": 3, "c": 3})
    refused(tmp_path / "odd", "not those of the train split: only one of them has b, c")
    fill(tmp_path / "bad", {"a": 6, "b": 6})
    (tmp_path / "bad" / "b" / "002.png").write_bytes(b"not a picture")
    refused(tmp_path / "bad", r"bad/b/002\.png: cannot be read as an image")
    (tmp_path / "bad" / "a" / "003.png").write_bytes(b"neither")
    refused(tmp_path / "bad", r"2 images cannot be read: .*a/003\.png .*b/002\.png ")


@pytest.mark.parametrize("cache", [0, 1 << 30])
def test_all_that_are_cut_short_are_named_at_once(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(decoded, "CACHE_BYTES", cache)
    fill(tmp_path, {"a": 6, "b": 6})
    for name in ("a/001.png", "b/002.png", "b/004.png"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:45])

    def decode():
        splits = load(tmp_path)
        for part in (splits.train, splits.val, splits.test):
            part.get(torch.arange(len(part.labels)))

    with pytest.raises(InputError, match=r"3 images cannot .*001\.png.*002.*004") as caught:
        decode()
    assert "\n" not in str(caught.value)


def test_names_that_are_no_utf8_and_links_are_read(tmp_path):
    fill(tmp_path / "data", {"a": 6, "b": 6})
    fill(tmp_path, {"more": 4})
    (tmp_path / "data" / "a" / "link").symlink_to(tmp_path / "more")
    odd = os.fsencode(tmp_path / "data")
    os.rename(odd + b"/b", odd + b"/caf\xe9")
    os.rename(odd + b"/a/000.png", odd + b"/a/\xff.png")
    splits = load(tmp_path / "data")
    assert splits.classes == ("a", "caf\\xe9")
    assert sum(len(part.labels) for part in (splits.train, splits.val, splits.test)) == 16
    json.dumps(splits.classes).encode()
    assert files.listing_hash(tmp_path / "data")
