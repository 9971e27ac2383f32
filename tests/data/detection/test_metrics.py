from __future__ import annotations

import math
import warnings

import pytest
import torch

from tvmkd.base.errors import InputError
from tvmkd.data.detection.metrics import MeanAP

A, B, FAR = (0, 0, 10, 10), (50, 50, 70, 70), (200, 200, 220, 220)


def target(*boxes, labels=None, difficult=(), crowds=()):
    """Objects of class 1, unless ``labels`` says otherwise."""
    count = len(boxes)
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [1] * count, dtype=torch.int64),
        "difficult": torch.tensor([n in difficult for n in range(count)], dtype=torch.bool),
        "iscrowd": torch.tensor([n in crowds for n in range(count)], dtype=torch.bool),
        "image_id": 7,
    }


def found(*entries):
    """``(box, score)`` or ``(box, score, label)``."""
    return {
        "boxes": torch.tensor([e[0] for e in entries], dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor([e[1] for e in entries], dtype=torch.float32),
        "labels": torch.tensor([(*e, 1)[2] for e in entries], dtype=torch.int64),
    }


def score(predictions, targets, classes=("a", "b", "c")):
    metric = MeanAP(classes)
    metric.update(predictions, targets)
    return metric.compute()


RIGHT_WRONG_RIGHT = (51 * 1 + 50 * 2 / 3) / 101
"""Two objects; found, in the order of the scores: right, wrong, right. Precision is 1 up to a
recall of 0.5 (51 of COCO's 101 recalls), then 2/3."""


def test_average_precision_by_hand():
    scores = score(
        [found((A, 0.9), (FAR, 0.8)), found((B, 0.7))],
        [target(A), target(B)],
    )
    assert scores.coco == pytest.approx(RIGHT_WRONG_RIGHT)
    assert scores.coco_50 == scores.coco_75 == pytest.approx(scores.coco)
    assert scores.voc == pytest.approx(RIGHT_WRONG_RIGHT)


def test_ten_thresholds_by_hand():
    """An IoU of exactly 0.6 is right at 0.50, 0.55 and 0.60."""
    scores = score([found(((0, 0, 10, 6), 0.9))], [target(A)])
    assert scores.coco == pytest.approx(0.3)
    assert scores.coco_50 == 1
    assert scores.coco_75 == 0
    assert scores.voc == 1


def test_classes_are_averaged_over_what_there_is():
    scores = score(
        [found((A, 0.9, 1), (FAR, 0.9, 3))], [target(A, B, labels=[1, 2])], ("cat", "dog", "cow")
    )
    assert scores.coco == scores.voc == 0.5
    assert scores.coco_classes == scores.voc_classes == {"cat": 1.0, "dog": 0.0}


def test_the_class_counts():
    assert score([found((A, 0.9, 2))], [target(A)]).coco_50 == 0


def test_what_is_found_where_nothing_is_is_wrong():
    scores = score([found((A, 0.5)), found((A, 0.9)), found()], [target(A), target(), target()])
    assert scores.coco == scores.voc == pytest.approx(0.5)


def test_difficult_objects_need_not_be_found_in_voc_style():
    scores = score([found((A, 0.9))], [target(A, B, difficult=[1])])
    assert scores.voc == 1
    assert scores.coco == pytest.approx(51 / 101)


def test_what_is_found_of_difficult_objects_is_ignored_in_voc_style():
    """Both of them: the second is no duplicate. In COCO style the second is wrong."""
    scores = score([found((A, 0.7), (B, 0.9), (B, 0.8))], [target(A, B, difficult=[1])])
    assert scores.voc == 1
    assert scores.coco == pytest.approx(RIGHT_WRONG_RIGHT)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(((50, 50, 70, 58), 0.9, 1), id="IoU 0.4"),
        pytest.param((B, 0.9, 2), id="another class"),
    ],
)
def test_a_difficult_object_excuses_no_other_mistake(wrong):
    scores = score(
        [found((A, 0.5, 1), (FAR, 0.5, 2), wrong)],
        [target(A, B, FAR, labels=[1, 1, 2], difficult=[1])],
    )
    assert sorted(scores.voc_classes.values()) == pytest.approx([0.5, 1])


HALF = (50, 50, 70, 60)
"""An IoU of exactly 0.5 with B."""


@pytest.mark.parametrize(
    ("box", "excused"),
    [
        (B, True),
        pytest.param(HALF, True, id="IoU 0.5"),
        pytest.param((50, 50, 70, 59.9), False, id="IoU 0.4975"),
    ],
)
def test_a_detection_is_excused_from_an_iou_of_half_with_a_difficult_object(box, excused):
    """Excused: neither right nor wrong. Else it is wrong, and comes before the right one."""
    scores = score([found((A, 0.5), (box, 0.9))], [target(A, B, difficult=[1])])
    assert scores.voc == pytest.approx(1 if excused else 0.5)


def test_an_iou_of_exactly_half_finds_an_object():
    scores = score([found((HALF, 0.9))], [target(B)])
    assert (scores.voc, scores.coco_50) == (1, 1)
    assert scores.coco == pytest.approx(0.1)


def test_a_detection_nearer_to_an_ordinary_object_is_not_excused():
    """Of two objects the nearer one decides: here the ordinary one, which is found twice."""
    near = (50, 50, 70, 66)
    scores = score([found((near, 0.9), (near, 0.8), (A, 0.5))], [target(B, near, A, difficult=[0])])
    assert scores.voc == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_a_crowd_that_is_difficult_excuses_nothing_beyond_its_being_a_crowd():
    crowd = (40, 40, 80, 80)
    scores = score([found((B, 0.9), (A, 0.8))], [target(crowd, A, difficult=[0], crowds=[0])])
    assert scores.voc == pytest.approx(0.5)


def test_an_ordinary_object_that_overlaps_a_difficult_one_still_counts():
    near = (50, 50, 70, 66)  # 0.8 of B
    scores = score([found((near, 0.9))], [target(B, near, difficult=[0])])
    assert scores.voc == 1


def test_what_is_found_in_a_crowd_is_ignored():
    crowd = (0, 0, 100, 100)
    scores = score(
        [found((A, 0.9), (B, 0.8), (FAR, 0.5))],
        [target(FAR, crowd, crowds=[1])],
    )
    assert scores.coco == scores.voc == 1


def test_batches_add_up():
    metric = MeanAP(["a"])
    metric.update([found((A, 0.9), (FAR, 0.8))], [target(A)])
    metric.update([found((B, 0.7))], [target(B)])
    assert metric.compute().coco == pytest.approx(RIGHT_WRONG_RIGHT)


def test_many_detections_are_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score([found((A, 0.9), *[(FAR, 0.1)] * 150)], [target(A)])
    assert scores.coco == 1


def test_all_difficult_is_no_number():
    scores = score([found((A, 0.9))], [target(A, difficult=[0])])
    assert math.isnan(scores.voc)
    assert scores.voc_classes == {}
    assert scores.coco == 1


@pytest.mark.parametrize(
    ("predictions", "targets", "message"),
    [
        ([found((A, 0.9))], [], "1 predictions for 0 targets"),
        ([found((A, 0.9, 0))], [target(A)], "image 7: labels from 0 to 0, but the 3 classes"),
        ([found((A, 0.9, 4), (A, 0.9))], [target(A)], "labels from 1 to 4"),
        ([found((A, math.nan))], [target(A)], "scores that are not finite"),
        ([found(((0, 0, 1, math.inf), 0.5))], [target(A)], "boxes that are not finite"),
        ([found((A, 0.9))], [target()], "no target has an object"),
        ([], [], "no target has an object"),
        ([found((A, 0.9))], [target(A, crowds=[0])], "no target has an object"),
    ],
)
def test_what_cannot_be_scored_is_one_line(predictions, targets, message):
    with pytest.raises(InputError, match=message) as caught:
        score(predictions, targets)
    assert "\n" not in str(caught.value)
