from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from tvmkd.detection import nms
from tvmkd.detection.nms import suppress


def theirs(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float
) -> np.ndarray:
    kept = torchvision.ops.batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), threshold)
    return np.asarray(kept.numpy())


def boxes_at_random(
    rng: np.random.Generator, count: int, classes: int, room: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole coordinates: torchvision moves classes apart, which costs others their last bits."""
    corners = rng.integers(0, room, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 30, (count, 2))], 1)
    return (
        boxes.astype(np.float32),
        rng.random(count, np.float32),
        rng.integers(1, classes + 1, count),
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 400),
    st.integers(1, 21),
    st.sampled_from([8, 60, 400]),
    st.sampled_from([0.0, 0.3, 0.45, 0.5, 0.55, 0.9, 1.0]),
    st.sampled_from([3, 128]),
)
def test_as_torchvision_has_it(
    seed: int, count: int, classes: int, room: int, threshold: float, block: int
) -> None:
    boxes, scores, labels = boxes_at_random(np.random.default_rng(seed), count, classes, room)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nms, "BLOCK", block)
        found = suppress(boxes, scores, labels, threshold)
    np.testing.assert_array_equal(found, theirs(boxes, scores, labels, threshold))


def test_an_overlap_that_float32_rounds_up_is_above() -> None:
    """60 / 200 is 0.3, which as a float32 is more than 0.3."""
    boxes = np.array([[0, 0, 10, 13], [0, 7, 10, 20]], np.float32)
    scores, labels = np.array([0.9, 0.8], np.float32), np.array([1, 1])
    assert suppress(boxes, scores, labels, 0.3).tolist() == [0]
    assert theirs(boxes, scores, labels, 0.3).tolist() == [0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 3))
def test_of_equal_scores_the_first(seed: int, count: int, classes: int) -> None:
    boxes, scores, labels = boxes_at_random(np.random.default_rng(seed), count, classes, 40)
    scores = np.round(scores * 3) / np.float32(3)
    np.testing.assert_array_equal(
        suppress(boxes, scores, labels), theirs(boxes, scores, labels, 0.5)
    )


def test_a_thousand_boxes() -> None:
    rng = np.random.default_rng(3)
    for classes in (1, 20):
        boxes, scores, labels = boxes_at_random(rng, 1000, classes, 100)
        found = suppress(boxes, scores, labels)
        assert 20 < len(found) < 1000
        np.testing.assert_array_equal(found, theirs(boxes, scores, labels, 0.5))


def test_a_chain_where_each_overlaps_the_next() -> None:
    """1 goes to 0, so 2 stays, so 3 goes: the longest way that a fate can depend on others."""
    boxes = np.array([[place * 3, 0, place * 3 + 10, 10] for place in range(300)], np.float32)
    scores = np.linspace(1, 0.1, 300, dtype=np.float32)
    found = suppress(boxes, scores, np.ones(300, np.int64), 0.5)
    assert found.tolist() == list(range(0, 300, 2))


def test_exactly_the_threshold_is_no_overlap_above_it() -> None:
    """0.45, rounded to float32, is above 0.45: torchvision lets such a box go."""
    boxes = np.array([[0, 0, 20, 1], [0, 0, 9, 1]], np.float32)
    scores, labels = np.array([0.9, 0.8], np.float32), np.array([1, 1])
    for threshold in (0.45, 0.4499, 0.4501):
        found = suppress(boxes, scores, labels, threshold)
        np.testing.assert_array_equal(found, theirs(boxes, scores, labels, threshold))
    assert len(suppress(boxes * np.float32([2, 1, 2, 1]), scores, labels, 0.5)) == 2


def test_nothing_and_boxes_without_area() -> None:
    none = suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert none.shape == (0,)
    assert none.dtype == np.int64
    flat = np.array([[5, 5, 5, 5]] * 2, np.float32)
    found = suppress(flat, np.array([0.5, 0.6], np.float32), np.array([1, 1]))
    assert found.tolist() == [1, 0]
