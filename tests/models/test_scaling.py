from __future__ import annotations

import math

import pytest
import torch
from torchvision.models._utils import _make_divisible

from tvmkd.base.errors import InputError, UsageError
from tvmkd.models.scaling import (
    Scale,
    check_image,
    each_stage,
    expansions,
    kernels,
    scales,
    strides,
)


@pytest.mark.parametrize("multiple", [1, 4, 8, 16])
def test_the_rounding_is_torchvisions(multiple):
    scale = Scale(multiple=multiple)
    for count in (0.3, 1, 4, 11.9, 12, 18, 27, 40, 90.5, 1024):
        assert scale.rounded(count) == _make_divisible(count, multiple)


def test_multipliers():
    assert Scale(width=0.5).channels(64) == 32
    assert Scale(width=0.01).channels(64) == 8
    assert [Scale(depth=depth).repeats(3) for depth in (0.01, 0.5, 1, 1.1, 2)] == [1, 2, 3, 4, 6]
    assert Scale(depth=1.1).repeats(10) == 11, "and not 12 because of 11.000000000000002"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width = 0: wants a number above 0"),
        ({"width": -1.0}, "width = -1.0"),
        ({"width": "0.5"}, "width = '0.5'"),
        ({"width": math.nan}, "width = nan"),
        ({"depth": 0}, "depth = 0: wants a number above 0"),
        ({"depth": math.inf}, "depth = inf"),
        ({"depth": True}, "depth = True"),
        ({"multiple": 0}, "multiple = 0: wants a whole number"),
        ({"multiple": 8.0}, "multiple = 8.0"),
    ],
)
def test_what_is_out_of_range_is_one_line(arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        Scale(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (8, [2, 1, 1, 1, 1]),
        (16, [2, 1, 1, 1, 2]),
        (28, [2, 1, 1, 2, 2]),
        (32, [2, 1, 1, 2, 2]),
        (64, [2, 1, 2, 2, 2]),
        (128, [2, 2, 2, 2, 2]),
        (224, [2, 2, 2, 2, 2]),
    ],
)
def test_small_images_are_halved_less(size, wanted):
    assert strides(size, 5) == wanted


@pytest.mark.parametrize("size", [7, 0, 32.0, "32", True])
def test_no_size_at_all(size):
    with pytest.raises(UsageError, match="at least 8"):
        strides(size, 5)


def test_an_image_of_another_size():
    check_image(torch.zeros(2, 3, 28, 28), 28)
    with pytest.raises(InputError, match=r"32×28 pixels.*for 28×28; build it with size = 32"):
        check_image(torch.zeros(2, 3, 32, 28), 28)


def test_one_value_or_one_for_each_stage():
    assert each_stage("kernel", None, [3, 5]) == [3, 5]
    assert each_stage("kernel", 7, [3, 5]) == [7, 7]
    assert each_stage("kernel", (5, 3), [3, 5]) == [5, 3]
    assert scales([0.5, 2], 3, 4, stages=2) == [Scale(0.5, 3, 4), Scale(2, 3, 4)]
    assert kernels([3, 5], [3, 3]) == [3, 5]
    assert expansions(2.5, [1, 3]) == [2.5, 2.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: scales([1, 1], 1, 8, 3),
            r"width = \[1, 1\]: wants one number, or 3: one for each",
        ),
        (lambda: scales(1, [1, 0, 1], 8, 3), "depth = 0: wants a number above 0"),
        (lambda: scales("12", 1, 8, 2), "width = '12': wants a number above 0"),
        (lambda: kernels([3, 4], [3, 3]), "kernel = 4: wants an odd number of pixels"),
        (lambda: kernels(3.0, [3]), "kernel = 3.0: wants an odd number"),
        (lambda: kernels([3], [3, 3]), r"kernel = \[3\]: wants one number, or 2"),
        (lambda: expansions(0, [2]), "expansion = 0: wants a number above 0"),
    ],
)
def test_a_bad_value_for_a_stage_is_one_line(call, message):
    with pytest.raises(UsageError, match=message):
        call()
