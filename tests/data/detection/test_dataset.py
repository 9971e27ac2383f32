from __future__ import annotations

import pytest
import torch
from detection_sets import SIZE, annotation, picture
from torch.utils.data import DataLoader

from tvmkd.base.errors import InputError
from tvmkd.data.detection import DetectionImages, collate


def test_an_item_is_what_torchvision_takes(tmp_path):
    images = DetectionImages([annotation(picture(tmp_path / "a.png", 51), 7, 2)], crowds=True)
    image, target = images[0]
    assert len(images) == 1
    assert image.shape == (3, SIZE[1], SIZE[0])
    assert image.dtype == torch.float32
    assert image[0, 0, 0] == pytest.approx(51 / 255)
    assert image[2, 0, 0] == pytest.approx(204 / 255)
    assert target["boxes"].dtype == torch.float32
    assert target["boxes"].tolist() == [[1, 2, 9, 8]] * 2
    assert target["labels"].dtype == torch.int64
    assert target["difficult"].dtype == target["iscrowd"].dtype == torch.bool
    assert target["image_id"] == 7


def test_images_are_decoded_when_asked_for(tmp_path):
    path = tmp_path / "late.png"
    images = DetectionImages([annotation(path, 0)], crowds=True)
    assert images.target(0)["labels"].tolist() == [1]
    with pytest.raises(InputError, match=r"late\.png: cannot be read as an image"):
        images[0]
    picture(path)
    assert images[0][0].shape == (3, SIZE[1], SIZE[0])


def test_crowds_are_for_metrics_alone(tmp_path):
    entries = [annotation(tmp_path / "a.png", 0, 1, crowds=2)]
    assert DetectionImages(entries, crowds=True).target(0)["iscrowd"].tolist() == [
        False,
        True,
        True,
    ]
    assert DetectionImages(entries, crowds=False).target(0)["iscrowd"].tolist() == [False]


def test_a_loader_makes_lists_of_any_number_of_boxes(tmp_path):
    entries = [annotation(picture(tmp_path / f"{n}.png", n), n, n) for n in range(3)]
    loader = DataLoader(DetectionImages(entries, crowds=False), batch_size=3, collate_fn=collate)
    images, targets = next(iter(loader))
    assert [len(target["boxes"]) for target in targets] == [0, 1, 2]
    assert targets[0]["boxes"].shape == (0, 4)
    assert len(images) == 3


def test_damaged_and_exchanged_images_are_named(tmp_path):
    cut = picture(tmp_path / "cut.png")
    cut.write_bytes(cut.read_bytes()[:60])
    other = picture(tmp_path / "other.png", size=(SIZE[1], SIZE[0]))
    images = DetectionImages([annotation(cut, 0), annotation(other, 1)], crowds=False)
    with pytest.raises(InputError, match=r"cut\.png: cannot be read as an image"):
        images[0]
    with pytest.raises(InputError, match=r"other\.png: is 16 x 24 pixels, .* as 24 x 16"):
        images[1]


def test_a_detector_of_torchvision_learns_from_it(tmp_path):
    """Its loss takes the targets as they are, those of a negative too."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    entries = [annotation(picture(tmp_path / f"{n}.png", n), n, n) for n in range(3)]
    images, targets = collate(list(DetectionImages(entries, crowds=False)))
    torch.manual_seed(0)
    net = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)
    losses = net(images, targets)
    assert all(0 < float(loss.detach()) < 1e4 for loss in losses.values())
