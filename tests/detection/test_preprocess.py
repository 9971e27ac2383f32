from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tvmkd.base.errors import InputError
from tvmkd.detection import preprocess


def test_the_whole_picture_as_numbers_of_0_to_1(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 50, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    values = preprocess.prepare(picture, 16)
    assert (values.shape, values.dtype) == ((1, 3, 16, 16), np.float32)
    assert values.flags.c_contiguous
    wanted = np.asarray(Image.fromarray(picture).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(values[0].transpose(1, 2, 0), wanted.astype(np.float32) / 255)
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(preprocess.pixels(path), picture)


def test_of_its_own_size_nothing_changes() -> None:
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    values = preprocess.prepare(picture, 8)
    np.testing.assert_array_equal(np.round(values[0] * 255).transpose(1, 2, 0), picture)


def test_a_view_will_do() -> None:
    """A camera's BGR, turned round without a copy."""
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    turned = preprocess.pixels(picture[..., ::-1])
    np.testing.assert_array_equal(
        preprocess.prepare(turned, 4), preprocess.prepare(turned.copy(), 4)
    )


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\]"),
        (np.zeros((4, 4), np.uint8), r"uint8 \[4, 4\]"),
        (np.zeros((3, 4, 4), np.uint8), r"uint8 \[3, 4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \[0, 4, 3\]"),
        ([[1]], "list"),
    ],
)
def test_what_is_no_picture(array: Any, got: str) -> None:
    with pytest.raises(InputError, match=f"a uint8 array.*, got {got}$"):
        preprocess.pixels(array)


def test_boxes_go_back_to_the_picture() -> None:
    boxes = np.array([[0, 0, 16, 16], [4, 8, 8, 12]], np.float32)
    found = preprocess.restore(boxes, 16, width=50, height=20)
    np.testing.assert_allclose(found, [[0, 0, 50, 20], [12.5, 10, 25, 15]])
    assert found.dtype == np.float32
