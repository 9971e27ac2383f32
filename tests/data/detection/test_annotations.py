from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.data.detection.annotations import fit_boxes


def fit(*boxes: tuple[float, float, float, float]) -> tuple[np.ndarray, int]:
    return fit_boxes(np.array(boxes, np.float64).reshape(-1, 4), (20, 10), "a.xml")


def test_boxes_inside_stay_as_they_are():
    boxes, clipped = fit((0, 0, 20, 10), (1.5, 2, 3, 4))
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[0, 0, 20, 10], [1.5, 2, 3, 4]]
    assert clipped == 0


def test_boxes_are_cut_at_the_border_and_a_rounded_pixel_is_not_counted():
    boxes, clipped = fit((-5, 2, 3, 4), (-1, -1, 21, 11), (15, 5, 40, 9))
    assert boxes.tolist() == [[0, 2, 3, 4], [0, 0, 20, 10], [15, 5, 20, 9]]
    assert clipped == 2


def test_no_boxes():
    boxes, clipped = fit()
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32
    assert clipped == 0


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((5, 2, 3, 4), "box 2 .5, 2, 3, 4. has its corners the wrong way round"),
        ((3, 4, 5, 4), "no area"),
        ((20, 2, 25, 4), "lies outside of its image of 20 x 10 pixels"),
        ((-9, -9, -2, -2), "lies outside"),
        ((1, 1, float("nan"), 2), "not made of finite numbers"),
    ],
)
def test_what_cannot_be_meant_is_refused(box, message):
    with pytest.raises(InputError, match=f"a.xml: .*{message}") as caught:
        fit((1, 1, 2, 2), box)
    assert "\n" not in str(caught.value)
