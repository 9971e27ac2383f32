from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from tvmkd.base import images
from tvmkd.base.errors import InputError


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    picture = Image.new("RGB", (6, 4))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    found = images.read(tmp_path / "a.png")
    assert found.size == (4, 6)
    assert found.getpixel((3, 0)) == (255, 0, 0)


def test_unusual_tags_beside_the_orientation_are_no_fault(tmp_path: Path) -> None:
    resolution_unit = struct.pack(">HHII", 0x0128, 5, 1, 38)  # RATIONAL, where SHORT is usual
    orientation = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 2) + orientation + resolution_unit
    exif = b"Exif\0\0" + tiff + struct.pack(">III", 0, 2, 1)
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert images.read(tmp_path / "a.jpg").size == (4, 6)


@pytest.mark.parametrize("error", [RuntimeError, TypeError, struct.error, IndexError])
def test_whatever_pillow_raises_names_the_file(tmp_path: Path, monkeypatch, error) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", Mock(side_effect=error("why")))
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image: why"):
        images.read(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5, 3)).save(tmp_path / "a.png")
    assert images.read(tmp_path / "a.png").mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_a_file_that_is_no_image(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image"):
        images.read(path)


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    path = tmp_path / "b.png"
    path.write_bytes((tmp_path / "a.png").read_bytes()[:900])
    with pytest.raises(InputError, match=r"b\.png: cannot be read as an image"):
        images.read(path)


def test_a_folder_is_replaced_by_its_images(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", "._b.JPG"):
        (tmp_path / name).touch()
    (tmp_path / "c.png").mkdir()
    single = tmp_path / "notes.txt"
    assert images.listed([single, tmp_path]) == [single, tmp_path / "a.png", tmp_path / "b.JPG"]
    with pytest.raises(InputError, match=r"c\.png: no images; known are .*\.bmp, "):
        images.listed([tmp_path / "c.png"])
    with pytest.raises(InputError, match="gone: there is no such image or folder"):
        images.listed([tmp_path / "gone"])


def test_it_needs_no_torch() -> None:
    script = "import sys, tvmkd.base.images, tvmkd.detection.decode; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def pixel(path: Path, values: np.ndarray, **options: object) -> int:
    Image.fromarray(values).save(path, **options)
    found = images.read(path).getpixel((0, 0))
    assert isinstance(found, tuple)
    return int(found[0])


@pytest.mark.parametrize(
    ("value", "wanted"), [(0, 0), (200, 1), (255, 1), (300, 1), (32768, 128), (65535, 255)]
)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_by_their_type(
    tmp_path: Path, name: str, value: int, wanted: int
) -> None:
    assert pixel(tmp_path / name, np.full((4, 4), value, np.uint16)) == wanted


def test_floats_are_zero_to_one_unless_the_file_says_more(tmp_path: Path) -> None:
    half = np.full((4, 4), 0.5, np.float32)
    assert pixel(tmp_path / "a.tif", half) == 128
    assert pixel(tmp_path / "b.tif", half * 200, tiffinfo={340: 0.0, 341: 200.0}) == 128
    for bad in (half * 200, half * np.nan, half - 1):
        with pytest.raises(InputError, match=r"c\.tif: cannot be read as an image: its values are"):
            pixel(tmp_path / "c.tif", bad)


def test_thirty_two_bits_need_a_range(tmp_path: Path) -> None:
    values = np.full((4, 4), 70000, np.int32)
    with pytest.raises(InputError, match="32-bit integers have no known range"):
        pixel(tmp_path / "a.tif", values)


def test_sixteen_bits_keep_their_orientation_and_polarity(tmp_path: Path) -> None:
    values = np.zeros((4, 6), np.uint16)
    values[0, 0] = 65535
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    found = images.read(tmp_path / "a.png")
    assert found.size == (4, 6)
    assert found.getpixel((3, 0)) == (255, 255, 255)
    assert pixel(tmp_path / "b.tif", values, tiffinfo={262: 0}) == 0


def test_several_that_cannot_be_read_are_one_line() -> None:
    errors = [images.UnreadableImage(Path(f"{n}.png"), "cut short") for n in range(3)]
    assert images.together(errors[:1]) is errors[0]
    assert str(images.together(errors, 2)) == (
        "3 images cannot be read: 0.png (cut short), 1.png (cut short) and 1 more; replace or "
        "remove them all"
    )
