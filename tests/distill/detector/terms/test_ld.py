from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_detectors import shared
from torchvision.models.detection._utils import BoxCoder

from tvmkd.base.errors import InputError
from tvmkd.distill.detector.losses import Answers
from tvmkd.distill.detector.terms import Seen
from tvmkd.distill.detector.terms.ld import BINS, LD
from tvmkd.models.detectors import BOX_WEIGHTS, Raw

WIDTH = 0.25


def gaussian(edge: float, width: float) -> list[float]:
    bins = [-1 + 2 * place / (BINS - 1) for place in range(BINS)]
    powers = [math.exp(-((edge - one) ** 2) / (2 * width**2)) for one in bins]
    return [power / sum(powers) for power in powers]


def kl(target: list[float], found: list[float]) -> float:
    return sum(t * math.log(t / f) for t, f in zip(target, found, strict=True) if t > 0)


@pytest.fixture(scope="module")
def loss() -> LD:
    """With one anchor of 20 by 40 pixels."""
    term = LD(shared(), shared(), width=WIDTH)
    term.anchors = torch.tensor([[10.0, 10.0, 30.0, 50.0]])
    return term


def seen(
    mine: list[float], boxes: list[list[float]], sure: list[float], there: list[float]
) -> Seen:
    """A student's box, the teacher's boxes with how sure it is, and the object."""
    coder = BoxCoder(BOX_WEIGHTS["softmax"])
    anchor = torch.tensor([[10.0, 10.0, 30.0, 50.0]])
    offsets = coder.encode_single(torch.tensor([mine]), anchor)[None].requires_grad_()
    presence = torch.tensor([sure]).logit()
    logits = torch.stack([torch.zeros_like(presence), presence], -1)  # background, one class
    answers = Answers(logits, torch.tensor([boxes]) / 64, [])
    target: Any = {"boxes": torch.tensor([there]).reshape(-1, 4)}
    return Seen(Raw(torch.zeros(1, 1, 2), offsets, []), answers, {}, [target])


BOX = [10.0, 10.0, 30.0, 50.0]


def test_one_box_by_hand(loss: LD) -> None:
    """The left edge is a quarter of the width off, the lower one a tenth of the height."""
    found = loss(seen([15.0, 10.0, 30.0, 46.0], [BOX], [0.8], BOX))
    left = kl(gaussian(0.0, WIDTH), gaussian(0.25, WIDTH))
    low = kl(gaussian(0.0, WIDTH), gaussian(-0.1, WIDTH))
    # The confidence weighs the anchor, and the sum is divided by the weights, at least 1.
    assert float(found) == pytest.approx(0.8 * (left + low), rel=1e-3)
    assert float(loss(seen(BOX, [BOX], [0.8], BOX))) == pytest.approx(0, abs=1e-4)


def test_boxes_that_disagree_make_an_edge_count_less(loss: LD) -> None:
    """Two boxes of one object whose right edges differ: a mixture, by hand."""
    boxes, sure = [[10.0, 10.0, 26.0, 50.0], [10.0, 10.0, 34.0, 50.0]], [0.9, 0.3]
    mine = [14.0, 10.0, 31.0, 50.0]
    shares = [0.75, 0.25]
    edges = [-0.2, 0.2]
    mixed = [
        sum(share * one for share, one in zip(shares, ones, strict=True))
        for ones in zip(*(gaussian(edge, WIDTH) for edge in edges), strict=True)
    ]
    middle = sum(share * edge for share, edge in zip(shares, edges, strict=True))
    spread = sum(s * (edge - middle) ** 2 for s, edge in zip(shares, edges, strict=True))
    right = kl(mixed, gaussian(0.05, math.sqrt(WIDTH**2 + spread)))
    left = kl(gaussian(0.0, WIDTH), gaussian(0.2, WIDTH))
    found = loss(seen(mine, boxes, sure, BOX))
    assert float(found) == pytest.approx(0.9 * (left + right), rel=1e-3)


def test_boxes_of_another_object_do_not_count(loss: LD) -> None:
    alone = float(loss(seen([12.0, 10.0, 30.0, 50.0], [BOX], [0.8], BOX)))
    far = [[40.0, 10.0, 60.0, 50.0]]
    both = float(loss(seen([12.0, 10.0, 30.0, 50.0], [BOX, *far], [0.8, 0.9], BOX)))
    assert both == pytest.approx(alone, rel=1e-4)
    assert float(loss(seen(BOX, far, [0.9], BOX))) == 0  # not found by the teacher
    assert float(loss(seen(BOX, far, [0.9], []))) == 0


def test_both_regions_and_what_lies_outside(loss: LD) -> None:
    term = LD(shared(), shared(), valuable=0.3)
    object_ = torch.tensor([[0.0, 0.0, 20.0, 20.0], [40.0, 40.0, 60.0, 60.0]])
    term.anchors = torch.tensor(
        [
            [0.0, 0.0, 20.0, 20.0],  # DIoU 1
            [8.0, 0.0, 28.0, 20.0],  # IoU 0.43, centres 8 apart: DIoU 0.37
            [16.0, 0.0, 36.0, 20.0],  # IoU 0.11, DIoU -0.04
            [41.0, 40.0, 60.0, 60.0],
        ]
    )
    weights, places = term.regions(object_)
    assert weights.tolist() == pytest.approx([1.0, 0.3, 0.0, 1.0])
    assert places.tolist()[0::3] == [0, 1]


def test_the_gradient_moves_the_edge_to_the_teachers(loss: LD) -> None:
    one = seen([14.0, 10.0, 30.0, 50.0], [BOX], [0.8], BOX)
    loss(one).backward()
    assert one.output.offsets.grad is not None
    dx, _, dw, _ = one.output.offsets.grad[0, 0].tolist()
    assert dx > 0  # the centre has to go left
    assert dw < 0  # and the box to grow


def test_values_out_of_range_are_refused() -> None:
    network = shared()
    for args, line in (
        ({"width": 0.0}, "ld: width has to be above 0, at most 1, not 0"),
        ({"positive": 1.5}, "ld: positive has to be"),
        ({"valuable": -1.0}, "ld: valuable has to be 0 or more, not -1"),
    ):
        with pytest.raises(InputError, match=line):
            LD(network, network, **args)  # type: ignore[arg-type]
