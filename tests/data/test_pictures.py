from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tvmkd.data.pictures import Decoder, is_gray
from tvmkd.errors import InputError


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
