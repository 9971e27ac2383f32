from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import detection as nets
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD

from tvmkd.base.detector_description import Activation, Description
from tvmkd.base.errors import InputError
from tvmkd.detection import decode as decoding
from tvmkd.detection.decode import Detections, decode
from tvmkd.detection.nms import suppress

SIZE = 96


def described(
    activation: Activation, classes: int, weights: tuple[float, ...], anchors: Tensor
) -> Description:
    names = tuple(f"c{number}" for number in range(classes))
    dx, dy, dw, dh = weights
    return Description(names, SIZE, activation, (dx, dy, dw, dh), anchors.numpy())


def same(mine: Detections, theirs: dict[str, Tensor]) -> None:
    np.testing.assert_array_equal(mine.labels, theirs["labels"].numpy())
    np.testing.assert_allclose(mine.scores, theirs["scores"].numpy(), rtol=1e-5)
    np.testing.assert_allclose(mine.boxes, theirs["boxes"].numpy(), atol=1e-3)


def kept(candidates: Detections, threshold: float, most: int) -> Detections:
    stay = suppress(candidates.boxes, candidates.scores, candidates.labels, threshold)
    return candidates.take(stay[:most])


@pytest.mark.parametrize(("levels", "topk"), [((6, 3), 1000), ((6,), 60)])
def test_retinanet_as_torchvision_has_it(levels: tuple[int, ...], topk: int) -> None:
    """The topk of torchvision is that of a level: with one level it is that of the image."""
    torch.manual_seed(0)
    pyramid = AnchorGenerator(((16, 24, 40),) * len(levels), ((0.5, 1.0, 2.0),) * len(levels))
    backbone = torch.nn.Conv2d(3, 8, 3)
    backbone.out_channels = 8  # type: ignore[assignment]
    net = nets.RetinaNet(backbone, 5, anchor_generator=pyramid, topk_candidates=topk).eval()
    net.score_thresh = 0.2
    images = ImageList(torch.rand(2, 3, SIZE, SIZE), [(SIZE, SIZE)] * 2)
    anchors = net.anchor_generator(images, [torch.zeros(2, 8, side, side) for side in levels])
    count = len(anchors[0])
    parts = [side * side * 9 for side in levels]
    assert count == sum(parts)
    logits, offsets = torch.randn(2, count, 5) - 2, torch.randn(2, count, 4) * 2
    theirs = net.postprocess_detections(
        {
            "cls_logits": list(logits.split(parts, 1)),
            "bbox_regression": list(offsets.split(parts, 1)),
        },
        [list(each.split(parts)) for each in anchors],
        images.image_sizes,
    )
    about = described("sigmoid", 5, net.box_coder.weights, anchors[0])
    found = decode(logits.numpy(), offsets.numpy(), about, 0.2, topk)
    assert len(found) == 2
    assert (len(found[0]) == 60) == (topk == 60)
    for mine, their in zip(found, theirs, strict=True):
        # torchvision counts a RetinaNet's labels from 0.
        same(kept(mine, net.nms_thresh, 300), {**their, "labels": their["labels"] + 1})


@pytest.mark.parametrize("topk", [300, 9])
def test_ssdlite_as_torchvision_has_it(topk: int) -> None:
    torch.manual_seed(1)
    boxes = DefaultBoxGenerator([[2, 3], [2]], min_ratio=0.2, max_ratio=0.95)
    head = torch.nn.Module()
    backbone = torch.nn.Conv2d(3, 4, 3)
    net = SSD(
        backbone,
        boxes,
        (SIZE, SIZE),
        4,
        head=head,
        score_thresh=0.05,
        nms_thresh=0.55,
        topk_candidates=topk,
    ).eval()
    images = ImageList(torch.rand(2, 3, SIZE, SIZE), [(SIZE, SIZE)] * 2)
    anchors = boxes(images, [torch.zeros(2, 4, 6, 6), torch.zeros(2, 4, 3, 3)])
    count = len(anchors[0])
    logits, offsets = torch.randn(2, count, 4) * 2, torch.randn(2, count, 4) * 3
    theirs = net.postprocess_detections(
        {"cls_logits": logits, "bbox_regression": offsets}, anchors, images.image_sizes
    )
    about = described("softmax", 3, net.box_coder.weights, anchors[0])
    found = decode(logits.numpy(), offsets.numpy(), about, 0.05, topk)
    if topk == 9:
        assert np.bincount(found[0].labels).tolist() == [0, 9, 9, 9]
    for mine, their in zip(found, theirs, strict=True):
        same(kept(mine, net.nms_thresh, net.detections_per_img), their)


def test_torchvisions_own_ssdlite() -> None:
    """Its backbone, heads and default boxes, weights at random."""
    torch.manual_seed(2)
    net = nets.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4, score_thresh=0.3
    ).eval()
    images = ImageList(torch.rand(1, 3, SIZE, SIZE), [(SIZE, SIZE)])
    with torch.no_grad():
        features = list(net.backbone(images.tensors).values())
        heads = net.head(features)
        logits = heads["cls_logits"]
        heads["cls_logits"] = (logits - logits.mean()) / logits.std()  # else all are alike
        anchors = net.anchor_generator(images, features)
        theirs = net.postprocess_detections(heads, anchors, images.image_sizes)[0]
    about = described("softmax", 3, net.box_coder.weights, anchors[0])
    raw = (heads[name].numpy() for name in ("cls_logits", "bbox_regression"))
    (mine,) = decode(*raw, about, net.score_thresh, net.topk_candidates)
    assert len(mine) > 20
    same(kept(mine, net.nms_thresh, net.detections_per_img), theirs)


def test_boxes_end_at_the_border_and_never_overflow() -> None:
    about = described("sigmoid", 1, (1, 1, 1, 1), torch.tensor([[0.0, 0, 10, 10]] * 2))
    offsets = np.array([[[0, 0, 500, 500], [-9, 0, 0, 0]]], np.float32)
    (found,) = decode(np.full((1, 2, 1), 3, np.float32), offsets, about)
    np.testing.assert_array_equal(found.boxes, [[0, 0, SIZE, SIZE], [0, 0, 0, 10]])
    # 62.5 times the anchor, and no more.
    tiny = described("sigmoid", 1, (1, 1, 1, 1), torch.tensor([[48.0, 48, 49, 49]]))
    (found,) = decode(np.full((1, 1, 1), 3, np.float32), offsets[:, :1], tiny)
    np.testing.assert_allclose(found.boxes, [[48.5 - 31.25] * 2 + [48.5 + 31.25] * 2], rtol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_equal_scores_stay_in_order(activation: Activation) -> None:
    about = described(activation, 2, (1, 1, 1, 1), torch.tensor([[0.0, 0, 8, 8]] * 30))
    logits = np.zeros((1, 30, about.outputs), np.float32)
    (found,) = decode(logits, np.zeros((1, 30, 4), np.float32), about, 0.2)
    by_place = [1, 2] * 30 if activation == "sigmoid" else [1] * 30 + [2] * 30
    assert found.labels.tolist() == by_place


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize(("threshold", "count"), [(0.0, 6), (0.999999, 0), (1.0, 0)])
def test_the_ends_of_the_threshold(activation: Activation, threshold: float, count: int) -> None:
    about = described(activation, 2, (1, 1, 1, 1), torch.tensor([[0.0, 0, 8, 8]] * 3))
    logits = np.linspace(-3, 3, 3 * about.outputs, dtype=np.float32).reshape(1, 3, -1)
    (found,) = decode(logits, np.zeros((1, 3, 4), np.float32), about, threshold)
    assert len(found) == count
    assert found.boxes.shape == (count, 4)


def test_large_logits_are_no_trouble() -> None:
    about = described("softmax", 1, (1, 1, 1, 1), torch.tensor([[0.0, 0, 8, 8]] * 2))
    logits = np.array([[[-500, 500], [500, -500]]], np.float32)
    (found,) = decode(logits, np.zeros((1, 2, 4), np.float32), about)
    assert found.scores.tolist() == [1.0]
    about = described("sigmoid", 2, (1, 1, 1, 1), about_anchors())
    (found,) = decode(logits, np.zeros((1, 2, 4), np.float32), about, 0.0)
    assert sorted(found.scores.tolist()) == [1.0, 1.0]


def about_anchors() -> Tensor:
    return torch.tensor([[0.0, 0, 8, 8]] * 2)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_nan_is_an_error_not_nothing(activation: Activation) -> None:
    about = described(activation, 1, (1, 1, 1, 1), about_anchors())
    logits = np.full((1, 2, about.outputs), np.nan, np.float32)
    with pytest.raises(InputError, match="answers NaN"):
        decode(logits, np.zeros((1, 2, 4), np.float32), about)
    logits[:] = 5
    logits[..., :1] = 0 if activation == "softmax" else 5
    with pytest.raises(InputError, match="answers NaN"):
        decode(logits, np.full((1, 2, 4), np.nan, np.float32), about)


def test_as_a_list() -> None:
    found = Detections(
        np.array([[1, 2, 3, 4]], np.float32), np.array([0.5], np.float32), np.array([2])
    )
    assert found.to_list(("cat", "dog")) == [
        {"class": "dog", "label": 2, "score": 0.5, "box": [1.0, 2.0, 3.0, 4.0]}
    ]


def test_each_kind_has_its_own_topk() -> None:
    about = described("softmax", 1, (1, 1, 1, 1), torch.tensor([[0.0, 0, 8, 8]] * 2000))
    logits = np.random.default_rng(0).normal(3, 0.1, (1, 2000, 2)).astype(np.float32)
    logits[..., 0] = 0
    (found,) = decode(logits, np.zeros((1, 2000, 4), np.float32), about)
    assert len(found) == decoding.TOPK["softmax"] == 400
    assert found.scores.min() > np.sort(1 / (1 + np.exp(-logits[0, :, 1])))[-402]
    sigmoid = described("sigmoid", 2, (1, 1, 1, 1), torch.tensor([[0.0, 0, 8, 8]] * 2000))
    (found,) = decode(logits, np.zeros((1, 2000, 4), np.float32), sigmoid)
    assert len(found) == decoding.TOPK["sigmoid"] == 1000
