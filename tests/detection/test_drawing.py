from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tvmkd.base.errors import InputError
from tvmkd.detection import drawing
from tvmkd.detection.decode import Detections

CLASSES = ("cat", "dog", "a class whose name is rather long")


def found(*boxes: tuple[float, ...], labels: list[int] | None = None) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.array(labels or [1] * count, np.int64),
    )


def pixels_of(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere((np.asarray(image) == colour).all(-1))


def test_a_box_is_where_it_is_and_in_its_classs_colour() -> None:
    picture = np.full((600, 800, 3), 128, np.uint8)
    image = drawing.draw(picture, found((100, 200, 300, 500), labels=[2]), CLASSES)
    assert image.size == (800, 600)
    assert (picture == 128).all(), "the picture itself stays as it was"
    mine = pixels_of(image, drawing.colour(2))
    assert mine[:, 1].min() == 100
    assert mine[:, 0].max() == 499
    assert not len(pixels_of(image, drawing.colour(1)))
    # Inside and far outside of it nothing has changed.
    assert (np.asarray(image)[220:480, 120:280] == 128).all()
    assert (np.asarray(image)[:, 400:] == 128).all()


def test_nothing_found_leaves_the_picture_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    image = drawing.draw(picture, found(), CLASSES)
    np.testing.assert_array_equal(np.asarray(image), picture)


def test_small_pictures_grow_until_letters_have_room() -> None:
    image = drawing.draw(np.zeros((24, 32, 3), np.uint8), found((4, 12, 20, 20)), CLASSES)
    assert image.size == (480, 360)
    mine = pixels_of(image, drawing.colour(1))
    assert mine[:, 1].min() == 60
    assert mine[:, 0].max() == 20 * 15 - 1


def test_letters_grow_with_the_picture() -> None:
    heights = []
    for side in (600, 3000):
        image = drawing.draw(
            np.zeros((side, side, 3), np.uint8),
            found((0.3 * side,) * 2 + (0.9 * side,) * 2),
            CLASSES,
        )
        rows = pixels_of(image, drawing.colour(1))[:, 0]
        heights.append(0.3 * side - rows.min())
    assert heights[0] > 13
    assert heights[1] == pytest.approx(5 * heights[0], rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (8, 8), (333, 77)])
def test_any_shape_and_boxes_at_every_border(shape: tuple[int, int]) -> None:
    height, width = shape
    boxes = found(
        (0, 0, width, height), (0, 0, 0, 0), (width, height, width, height), labels=[3, 2, 1]
    )
    image = drawing.draw(np.full((*shape, 3), 9, np.uint8), boxes, CLASSES)
    assert (np.asarray(image) != 9).any()


def test_texts_keep_out_of_each_others_way() -> None:
    taken: list[drawing.Place] = []
    for _ in range(3):
        taken.append(drawing._free((50, 20), (100, 100, 200, 200), (400, 400), taken))
    assert taken == [(100, 80, 150, 100), (100, 100, 150, 120), (100, 200, 150, 220)]
    # Where there is no room it is moved into the picture.
    assert drawing._free((50, 20), (390, 5, 400, 30), (400, 400), []) == (350, 0, 400, 20)


def test_classes_differ_in_colour() -> None:
    assert len({drawing.colour(label) for label in range(1, 92)}) == 91


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), "red")
    drawing.save(tmp_path / "new" / "a.png", image)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    with Image.open(tmp_path / "new" / "a.png") as opened:
        assert (opened.format, opened.getpixel((0, 0))) == ("PNG", (255, 0, 0))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"a\.png: cannot be written"):
        drawing.save(tmp_path / "file" / "a.png", image)
