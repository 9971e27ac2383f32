from __future__ import annotations

from typing import Any

import pytest
import torch

from tvmkd.data.detection.metrics import Prediction
from tvmkd.distill.detector.threshold import BETAS, calibrate

BOX, FAR = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]


def found(*rows: tuple[list[float], float, int]) -> Prediction:
    return {
        "boxes": torch.tensor([row[0] for row in rows]).reshape(-1, 4),
        "scores": torch.tensor([row[1] for row in rows]),
        "labels": torch.tensor([row[2] for row in rows], dtype=torch.long),
    }


def target(*boxes: list[float], label: int = 1, **flags: list[bool]) -> Any:
    none = [False] * len(boxes)
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.full((len(boxes),), label),
        "difficult": torch.tensor(flags.get("difficult", none), dtype=torch.bool),
        "iscrowd": torch.tensor(flags.get("iscrowd", none), dtype=torch.bool),
        "image_id": 0,
    }


def test_the_best_f1_by_hand() -> None:
    """Three of four objects are found, at 0.9, 0.25 and 0.1, with errors at 0.3 and 0.05.

    F1 down the scores: 2/5, 2/6, 4/7, 6/8, 6/9. The best one ends at 0.1, the next is 0.05.
    """
    predictions = [
        found((BOX, 0.9, 1), (FAR, 0.3, 1)),
        found((BOX, 0.25, 1), (BOX, 0.05, 2)),
        found((BOX, 0.1, 1)),
        found(),
    ]
    targets = [target(BOX)] * 4
    assert calibrate(predictions, targets) == pytest.approx(0.075)


def test_precision_or_recall_may_count_more() -> None:
    rows = [found((BOX, 0.9, 1)), *[found((FAR, 0.5, 1))] * 2, found((BOX, 0.4, 1))]
    targets = [target(BOX), target(), target(), target(BOX)]
    # F-beta for 1 of 1 and for 2 of 4: f0.5 0.83 and 0.56, f1 0.67 and 0.67, f2 0.56 and 0.83.
    assert calibrate(rows, targets, BETAS["f0.5"], 0.01) == pytest.approx(0.7)
    assert calibrate(rows, targets, BETAS["f2"], 0.02) == pytest.approx(0.21)
    # Of equally good ones the highest: fewer boxes.
    assert calibrate(rows, targets, BETAS["f1"]) == pytest.approx(0.7)


def test_an_object_is_found_once_by_the_surest() -> None:
    """A second box of the same object, of a lower score, is an error."""
    rows = [found((BOX, 0.5, 1), (BOX, 0.8, 1)), found((BOX, 0.3, 1))]
    assert calibrate(rows, [target(BOX), target()]) == pytest.approx(0.65)
    # Two objects in one place are two.
    rows = [found((BOX, 0.5, 1), (BOX, 0.8, 1))]
    assert calibrate(rows, [target(BOX, BOX)]) == pytest.approx(0.25)


def test_a_box_of_another_class_or_place_is_wrong() -> None:
    shifted = [4.0, 0.0, 14.0, 10.0]  # IoU 0.43
    for wrong in ((BOX, 0.9, 2), (shifted, 0.9, 1)):
        assert calibrate([found(wrong)], [target(BOX)]) is None
    right = [3.0, 0.0, 13.0, 10.0]  # IoU 0.54
    assert calibrate([found((right, 0.9, 1))], [target(BOX)]) == pytest.approx(0.45)


@pytest.mark.parametrize("flag", ["difficult", "iscrowd"])
def test_what_need_not_be_found_counts_neither_way(flag: str) -> None:
    rows = [found((BOX, 0.9, 1), (FAR, 0.5, 1), (FAR, 0.4, 1))]
    easy = target(BOX, FAR, **{flag: [False, True]})
    # F1 is 1 with the first alone; the others are dropped, so that nothing follows it.
    assert calibrate(rows, [easy]) == pytest.approx(0.45)
    assert calibrate(rows, [target(BOX)]) == pytest.approx(0.7)


def test_detections_inside_a_crowd_belong_to_it() -> None:
    """The IoU of one object with a region of many is small."""
    inside = [[50.0 + 10 * n, 50.0, 60.0 + 10 * n, 60.0] for n in range(3)]
    rows = [found((BOX, 0.5, 1), *((box, 0.9, 1) for box in inside))]
    crowd = target(BOX, [50.0, 50.0, 90.0, 90.0], iscrowd=[False, True])
    assert calibrate(rows, [crowd]) == pytest.approx(0.25)
    half_outside = [81.0, 50.0, 101.0, 60.0]
    rows = [found((half_outside, 0.9, 1), (BOX, 0.5, 1)), found((BOX, 0.8, 1))]
    assert calibrate(rows, [crowd, target(BOX)]) == pytest.approx(0.25)
    assert calibrate(rows, [crowd, target()]) == pytest.approx(0.25)


def test_equal_scores_stay_together() -> None:
    rows = [found((BOX, 0.5, 1)), found((FAR, 0.5, 1)), found((BOX, 0.2, 1))]
    targets = [target(BOX), target(), target(BOX)]
    threshold = calibrate(rows, targets)
    assert threshold == pytest.approx(0.1)  # not between the two at 0.5


def test_nothing_right_or_nothing_at_all_gives_none() -> None:
    assert calibrate([found((FAR, 0.9, 1))], [target(BOX)]) is None
    assert calibrate([found()], [target()]) is None
