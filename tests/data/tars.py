"""Small WebDatasets."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image


def picture(shade: int, kind: str = "PNG", size: tuple[int, int] = (12, 10)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, shade, 255 - shade)).save(file, kind)
    return file.getvalue()


def write(path: Path, members: Mapping[str, bytes | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(first: int, count: int, classes: int = 2) -> dict[str, bytes | str]:
    """Pictures of a shade each, with their classes in turn."""
    found: dict[str, bytes | str] = {}
    for number in range(first, first + count):
        found[f"{number:04}.png"] = picture(number)
        found[f"{number:04}.cls"] = str(number % classes)
    return found
