from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tvmkd.base.errors import InputError
from tvmkd.data.pictures import Decoder, is_gray, upright_size, whole


def test_the_middle_of_the_scaled_picture(tmp_path):
    """Left half red, right half blue, twice as wide as high: the middle has both."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0] = 255
    pixels[:, 20:, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = Decoder(10, 3)(tmp_path / "a.png")
    assert found.shape == (3, 10, 10)
    assert found.dtype == np.uint8
    assert found[0, :, 0].min() == 255
    assert found[2, :, 9].min() == 255
    assert found[1].max() == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "1", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_picture(tmp_path, mode, channels):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (13, 9), (200, 200, 200)).convert(mode).save(path)
    found = Decoder(8, channels)(path)
    assert found.shape == (channels, 8, 8)
    assert is_gray(path) == (mode in {"L", "LA", "1"})


def test_sixteen_bits_keep_their_brightness(tmp_path):
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(tmp_path / "a.png")
    assert is_gray(tmp_path / "a.png")
    assert Decoder(8, 1)(tmp_path / "a.png").max() == 0x80


def test_a_camera_that_was_held_sideways(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it upright: the top becomes the right side
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    found = Decoder(8, 1)(tmp_path / "a.png")[0]
    assert found[:, 7].min() == 255
    assert found[:, 0].max() == 0


def test_unreadable_files_are_named(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)).save(
        tmp_path / "cut.png"
    )
    cut = tmp_path / "cut.png"
    cut.write_bytes(cut.read_bytes()[:300])
    text = tmp_path / "text.png"
    text.write_text("hello")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for path in (cut, text, empty, tmp_path / "gone.png"):
        with pytest.raises(InputError, match=f"{path.name}: cannot be read as an image") as caught:
            Decoder(8, 1)(path)
        assert "\n" not in str(caught.value)


def test_a_whole_picture_is_in_colour_and_not_scaled(tmp_path):
    Image.new("L", (13, 9), 200).save(tmp_path / "a.png")
    found = whole(tmp_path / "a.png", (13, 9))
    assert found.shape == (3, 9, 13)
    assert found.dtype == np.uint8
    assert found.min() == found.max() == 200
    with pytest.raises(InputError, match=r"a\.png: is 13 x 9 pixels, but was annotated as 9 x 13"):
        whole(tmp_path / "a.png", (9, 13))


def test_a_whole_picture_is_turned_as_it_was_annotated(tmp_path):
    pixels = np.zeros((6, 12), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif)
    assert upright_size(path) == (6, 12)
    upright = whole(path, (6, 12))
    assert upright[:, :, 5].min() == 255
    assert upright[:, :, 0].max() == 0
    as_stored = whole(path, (12, 6))
    assert as_stored[:, 0].min() == 255


def test_whole_pictures_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    for path in (tmp_path / "text.png", tmp_path / "gone.png"):
        for read in (lambda path: whole(path, (8, 8)), upright_size):
            with pytest.raises(InputError, match=f"{path.name}: cannot be read as an image"):
                read(path)
