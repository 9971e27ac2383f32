from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.data import decoded
from tvmkd.data.splits import Subset, batches


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    found = []
    for number in range(30):
        found.append(tmp_path / f"{number:02}.png")
        Image.new("RGB", (12, 10), (number, number, 9)).save(found[-1])
    return found


def splits(pictures: list[Path], unread=None, **options):
    cfg = config.Data(dataset="folder", path=pictures[0].parent, image_size=8, **options)
    listed = [(path, number % 2) for number, path in enumerate(pictures)]
    parts = {"train": listed[:20], "val": listed[20:24], "test": listed[24:]}
    return decoded.make_splits(cfg, ["a", "b"], parts, str, unread)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_are_the_same_with_any_number_of_workers(
    pictures, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    kept = splits(pictures)
    assert kept.sha256 == "(8, 3)"
    monkeypatch.setattr(decoded, "CACHE_BYTES", 0)
    lazy = splits(pictures, workers=workers)
    order = list(torch.split(torch.randperm(20), 6))

    def changed(images: torch.Tensor) -> torch.Tensor:
        return images + torch.rand(len(images), 1, 1, 1, generator=generator)

    found = []
    for each in (kept, lazy):
        generator = torch.Generator().manual_seed(1)
        found.append(list(batches(each.train, order, changed)))
    for one, two in zip(*found, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])
    for split in ("val", "test"):
        one, two = (getattr(each, split) for each in (kept, lazy))
        everything = torch.arange(len(one.labels))
        assert torch.equal(one.get(everything), two.get(everything))
    some = torch.tensor([3, 11, 12])
    ((subset, labels),) = batches(Subset(lazy.train, some), [torch.tensor([2, 0])])
    assert torch.equal(subset, kept.train.get(some[[2, 0]]))
    assert labels.tolist() == [0, 1]


def test_a_picture_that_is_damaged_meanwhile_is_named(
    pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "CACHE_BYTES", 0)
    lazy = splits(pictures, workers=2)
    for number in (7, 25):
        pictures[number].write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"2 images cannot be read: .*07\.png .*25\.png "):
        list(batches(lazy.train, list(torch.split(torch.arange(20), 5))))


def test_only_headers_that_nobody_has_read_are_read(
    pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "CACHE_BYTES", 0)
    pictures[5].write_bytes(b"no picture")
    splits(pictures, lambda: pictures[6:], channels=3)
    with pytest.raises(InputError, match=r"05\.png"):
        splits(pictures, lambda: pictures[:6], channels=3)
    with pytest.raises(InputError, match=r"05\.png"):
        splits(pictures, channels=3)


def test_workers_are_one_a_core_shared_by_a_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert decoded.workers(config.Data()) == 12
    assert decoded.workers(config.Data(workers=3)) == 3
    for team, wanted in (("4", 3), ("99", 1), ("0", 12), ("x", 12)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", team)
        assert decoded.workers(config.Data()) == wanted
