from __future__ import annotations

import numpy as np
import pytest

from tvmkd.data.detection import drawing
from tvmkd.data.detection.drawing import FAINT, MOST, VISIBLE, draw
from tvmkd.data.detection.materials import Materials, materials


@pytest.fixture(scope="module")
def scenes():
    stock = materials("train")
    return [draw(stock, 160, np.random.default_rng(seed)) for seed in range(60)]


def test_boxes_are_in_the_image_and_say_which_digit(scenes):
    stock = materials("train")
    digit_of = dict(zip(stock.indices.tolist(), stock.digits.tolist(), strict=True))
    for scene in scenes:
        assert scene.pixels.shape == (160, 160, 3)
        assert scene.pixels.dtype == np.uint8
        assert len(scene.boxes) == len(scene.digits) == len(scene.difficult) == len(scene.indices)
        assert (scene.boxes[:, :2] >= 0).all()
        assert (scene.boxes[:, 2:] <= 160).all()
        assert (scene.boxes[:, 2:] - scene.boxes[:, :2] >= 2).all()
        assert [digit_of[index] for index in scene.indices.tolist()] == scene.digits.tolist()


def test_counts_sizes_and_overlaps_vary(scenes):
    assert {len(scene.boxes) for scene in scenes} == set(range(MOST + 1))
    heights = np.concatenate([scene.boxes[:, 3] - scene.boxes[:, 1] for scene in scenes])
    assert heights.min() < 18
    assert heights.max() > 45
    difficult = np.concatenate([scene.difficult for scene in scenes])
    assert 0 < difficult.sum() < 0.25 * len(difficult)
    overlaps = 0
    for scene in scenes:
        for first in range(len(scene.boxes)):
            for second in scene.boxes[first + 1 :]:
                low = np.maximum(scene.boxes[first, :2], second[:2])
                high = np.minimum(scene.boxes[first, 2:], second[2:])
                area = np.prod(scene.boxes[first, 2:] - scene.boxes[first, :2])
                common = np.prod(np.maximum(high - low, 0))
                assert common <= 0.3 * area, "no digit is hidden"
                overlaps += common > 0
    assert overlaps > 0


def test_the_box_is_around_the_ink(monkeypatch):
    """One digit on a flat ground, without clutter and noise: what differs is in its box."""
    monkeypatch.setattr(drawing, "_clutter", lambda canvas, stock, rng: canvas)
    monkeypatch.setattr(drawing, "_sensor", lambda canvas, rng: canvas.copy())
    stock = materials("test")
    flat = Materials(
        stock.scans, stock.digits, stock.indices, (np.full((90, 90, 3), 90, np.uint8),)
    )
    for seed in range(30):
        scene = draw(flat, 160, np.random.default_rng(seed), least=1)
        ground = np.median(scene.pixels.reshape(-1, 3), axis=0)
        inked = np.abs(scene.pixels - ground).max(2) > 0
        inside = np.zeros_like(inked)
        for left, top, right, bottom in scene.boxes.tolist():
            inside[top:bottom, left:right] = True
            assert inked[top, left:right].any()
            assert inked[bottom - 1, left:right].any()
            assert inked[top:bottom, left].any()
            assert inked[top:bottom, right - 1].any()
        assert not (inked & ~inside).any()


def test_the_same_seed_draws_the_same_scene(scenes):
    stock = materials("train")
    again, other = draw(stock, 160, np.random.default_rng(3)), scenes[4]
    assert np.array_equal(again.pixels, scenes[3].pixels)
    assert np.array_equal(again.boxes, scenes[3].boxes)
    assert not np.array_equal(again.pixels, other.pixels)


def test_how_much_of_the_ink_is_visible():
    ink = np.ones((20, 20), np.float32)
    seen = set()
    for seed in range(60):
        under = np.full((20, 20, 3), 60, np.float32)
        visible = drawing._print(under, ink, np.random.default_rng(seed))
        change = float(np.abs(under - 60).max())  # 0.85 to 1 of the ink's distance
        assert visible == (1 if change > VISIBLE else 0) or 0.85 * VISIBLE <= change <= VISIBLE
        seen.add(visible)
    assert seen == {0.0, 1.0}


def test_ink_of_the_colour_of_half_of_its_ground_is_half_visible():
    ink = np.ones((20, 20), np.float32)
    seen = set()
    for seed in range(60):
        under = np.zeros((20, 20, 3), np.float32)
        under[10:] = 230
        seen.add(drawing._print(under, ink, np.random.default_rng(seed)))
    assert 0.5 in seen
    assert FAINT > 0.5, "and that is difficult"


def test_small_scenes_hold_digits_too():
    stock = materials("val")
    for seed in range(20):
        scene = draw(stock, 64, np.random.default_rng(seed), least=1)
        assert len(scene.boxes) >= 1
        assert (scene.boxes[:, 2:] <= 64).all()
