from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tvmkd.data.detection import Annotation, DetectionImages
from tvmkd.distill.detector.views import Views


def patch(path: Path, size: tuple[int, int] = (80, 60)) -> DetectionImages:
    """A white patch on black, and its box."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[10:40, 20:44] = 255
    Image.fromarray(pixels).save(path)
    box = np.array([[20, 10, 44, 40]], np.float32)
    one = Annotation(path, 7, size, box, np.array([2]), np.array([True]), np.array([False]))
    return DetectionImages([one], crowds=False)


def test_without_augmentation_it_is_the_picture_as_pillow_scales_it(tmp_path: Path) -> None:
    images = patch(tmp_path / "a.png")
    pixels, target = Views(images, 40).view(0)
    with Image.open(tmp_path / "a.png") as picture:
        wanted = np.asarray(picture.resize((40, 40), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.abs(pixels.numpy().astype(int) - wanted.astype(int)).max() <= 1
    assert target["boxes"][0].tolist() == pytest.approx([10, 10 * 40 / 60, 22, 40 * 40 / 60])
    assert (target["labels"].tolist(), target["difficult"].tolist()) == ([2], [True])
    assert target["image_id"] == 7


def test_boxes_follow_what_they_are_around(tmp_path: Path) -> None:
    views = Views(patch(tmp_path / "a.png"), 64, ("crop", "zoom", "flip"))
    seen = set()
    for number in range(24):
        pixels, target = views.view(0, number)
        white = (pixels.float().mean(0) > 200).nonzero()
        if not len(target["boxes"]):
            continue
        top, left = white.min(0).values.tolist()
        bottom, right = (white.max(0).values + 1).tolist()
        box = target["boxes"][0]
        assert torch.allclose(box, torch.tensor([left, top, right, bottom]).float(), atol=2.0)
        seen.add(tuple(box.round().tolist()))
    assert len(seen) > 8


def test_a_view_depends_on_its_number_alone(tmp_path: Path) -> None:
    views = Views(patch(tmp_path / "a.png"), 64, ("colour", "crop", "zoom"), seed=1)
    torch.manual_seed(5)
    first, one = views.view(0, 3)
    after = torch.rand(1)
    again, two = views.view(0, 3)
    other, _ = Views(views.images, 64, views.augment, seed=2).view(0, 3)
    assert torch.equal(first, again)
    assert torch.equal(one["boxes"], two["boxes"])
    assert not torch.equal(first, other)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))


def test_a_batch_is_of_0_to_1(tmp_path: Path) -> None:
    images, targets = Views(patch(tmp_path / "a.png"), 64).batch([0, 0])
    assert (images.shape, images.dtype, len(targets)) == ((2, 3, 64, 64), torch.float32, 2)
    assert (float(images.min()), float(images.max())) == (0, 1)


def test_views_are_ready_once_all_images_of_their_number_were_seen(tmp_path: Path) -> None:
    images = patch(tmp_path / "a.png")
    kept, forgotten = Views(images, 64, keep=True), Views(images, 64)
    for views in (kept, forgotten):
        assert not views.ready(1)
        views.batch([0], 1)
    assert kept.ready(1)
    assert not kept.ready(0)
    assert not forgotten.ready(1)
