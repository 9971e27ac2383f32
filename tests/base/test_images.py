from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5, 3)).save(tmp_path / "a.png")
    assert images.read(tmp_path / "a.png").mode == "RGB"


def test_sixteen_bits_keep_their_brightness(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0x8000, np.uint16)).save(tmp_path / "a.png")
    assert images.read(tmp_path / "a.png").getpixel((0, 0)) == (0x80,) * 3


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
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "c.png").mkdir()
    single = tmp_path / "notes.txt"
    assert images.listed([single, tmp_path]) == [single, tmp_path / "a.png", tmp_path / "b.JPG"]
    with pytest.raises(InputError, match=r"c\.png: no images; known are \.bmp, "):
        images.listed([tmp_path / "c.png"])
    with pytest.raises(InputError, match="gone: there is no such image or folder"):
        images.listed([tmp_path / "gone"])


def test_it_needs_no_torch() -> None:
    script = "import sys, tvmkd.base.images, tvmkd.detection.decode; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
