from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import studies
from hypothesis import given
from hypothesis import strategies as st
from studies import point

from tvmkd.search import front

SCORES = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 6)).map(lambda pair: (pair[0] / 6, float(pair[1]))),
    max_size=9,
)


@given(SCORES, st.booleans())
def test_the_front_is_what_nothing_dominates(pairs: list[tuple[float, float]], up: bool) -> None:
    sign = 1 if up else -1
    kept = front.nondominated(
        [sign * a for a, _ in pairs], [cost for _, cost in pairs], maximize=up
    )
    found = {pairs[index] for index in kept}
    expected = {
        (a, cost)
        for a, cost in pairs
        if not any(b >= a and c <= cost and (b, c) != (a, cost) for b, c in pairs)
    }
    assert found == expected
    assert len(kept) == len(expected), "equal points are there once"
    costs = [pairs[index][1] for index in kept]
    assert costs == sorted(costs)


@given(SCORES, st.booleans())
def test_the_volume_is_the_area_that_some_point_dominates(
    pairs: list[tuple[float, float]], up: bool
) -> None:
    floor, limit = 1.5 / 6, 4.5
    sign = 1 if up else -1
    got = front.hypervolume(
        [sign * a for a, _ in pairs],
        [c for _, c in pairs],
        (sign * floor, limit),
        maximize=up,
    )
    # Cell by cell of the grid that all coordinates span.
    heights = sorted({floor, *(a for a, _ in pairs if a > floor)})
    costs = sorted({limit, *(c for _, c in pairs if c < limit)})
    area = sum(
        (high - low) * (right - left)
        for low, high in itertools.pairwise(heights)
        for left, right in itertools.pairwise(costs)
        if any(a >= high and c <= left for a, c in pairs)
    )
    assert got == pytest.approx(area, abs=1e-12)


def test_points_without_a_figure_do_not_count() -> None:
    points = [
        point(0, 0.9, predicted=1.0),
        point(1, None, predicted=0.5),
        point(2, 0.95),
        point(3, math.nan, predicted=0.5),
        point(4, 0.99, predicted=0.5, state="pruned"),
        point(5, 0.8, predicted=0.5, measured=2.0),
        point(6, 0.99, measured=0.0),
    ]
    assert [each.number for each in front.usable(points)] == [0, 5]
    assert [each.number for each in front.front(points)] == [0]
    assert front.dominated(points) == 1


def test_a_lower_score_may_be_better() -> None:
    points = [point(0, 0.2, predicted=1.0), point(1, 0.1, predicted=2.0), point(2, 0.3, measured=3)]
    assert [each.number for each in front.front(points, maximize=False)] == [0, 1]


def test_the_front_by_macs_ignores_latency() -> None:
    points = [
        point(0, 0.90, measured=1.0, macs=50),
        point(1, 0.95, measured=2.0, macs=10),
        point(2, 0.97, measured=1.5),
    ]
    assert [each.number for each in front.front_by_macs(points)] == [1]
    assert [each.number for each in front.front(points)] == [0, 2]


def test_the_knee_is_the_bend() -> None:
    bend = [(0.5, 1.0), (0.9, 2.0), (0.92, 6.0), (0.93, 10.0)]
    points = [point(i, a, measured=c) for i, (a, c) in enumerate(bend)]
    assert front.knee(points) == points[1]
    lower = [point(i, 1 - a, measured=c) for i, (a, c) in enumerate(bend)]
    assert front.knee(lower, maximize=False) == lower[1]
    assert front.knee(points[:1]) == points[0]
    assert front.knee(points[:2]) == points[1], "of two ends, the more accurate"
    assert front.knee([]) is None


def test_the_reference_is_worse_than_every_point() -> None:
    assert front.reference([0.8, 0.9], [1.0, 3.0]) == pytest.approx((0.79, 3.2))
    assert front.reference([0.2, 0.1], [1.0, 3.0], maximize=False) == pytest.approx((0.21, 3.2))
    accuracy, latency = front.reference([0.9], [2.0])
    assert accuracy < 0.9
    assert latency > 2.0
    assert front.hypervolume([0.9], [2.0], (accuracy, latency)) > 0
    with pytest.raises(ValueError, match="no points"):
        front.reference([], [])


def test_a_studys_volume_is_taken_against_its_own_reference() -> None:
    points = [point(0, 0.9, measured=1.0), point(1, 0.8, measured=5.0)]
    assert front.volume(studies.study(points)) is None
    assert front.volume(studies.study([], reference=(0.5, 2.0))) is None
    assert front.volume(studies.study(points, reference=(0.5, 2.0))) == pytest.approx(0.4)


def test_the_interval_over_seeds_is_students() -> None:
    # t of two degrees of freedom is 4.3027; the standard error of 1, 2, 3 is 1/sqrt(3).
    mean = front.mean_over_seeds([1.0, 2.0, 3.0])
    assert (mean.mean, mean.count) == (2.0, 3)
    assert mean.high - 2.0 == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert mean.high - 2.0 == pytest.approx(2.0 - mean.low)
    assert front.mean_over_seeds(np.array([5.0])) == front.Mean(5.0, 5.0, 5.0, 1)
    with pytest.raises(ValueError, match="no values"):
        front.mean_over_seeds([])
