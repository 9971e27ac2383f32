"""Opens the frames that ``--source`` and ``--input`` name."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from tvmkd.base import images
from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.streaming.frames import Frames, Pipe, Pixels, RawFile, Scheduled

Source = Literal["random", "folder", "camera", "raw"]
SOURCES: tuple[Source, ...] = ("random", "folder", "camera", "raw")
MOST_FRAMES = 64
MOST_BYTES = 256 << 20  # of pixels in memory
RANDOM_FRAMES = 8


def choose(source: Source | None, path: Path | None) -> Source:
    """The source; where it is not named, by what the path is.

    Raises:
        UsageError: the source needs a path, or takes none.
    """
    if source is None:
        if path is None:
            return "random"
        seen = path.is_dir() or path.suffix.lower() in images.suffixes()
        return "folder" if seen else "raw"
    if (path is None) != (source == "random"):
        raise UsageError(
            "--source random takes no --input"
            if source == "random"
            else f"--source {source}: give --input, "
            + ("a file of raw frames, or - for a pipe" if source == "raw" else "pictures")
        )
    return source


def stdin_path() -> str:
    """A path at which another process of this user finds this process's standard input."""
    return f"/proc/{os.getpid()}/fd/0"


def open_frames(
    source: Source, path: Path | None, size: tuple[int, int] | None, severity: int = 2
) -> Frames:
    """Opens the frames.

    Args:
        source: ``random`` pixels, the pictures in a ``folder``, the same as a simulated ``camera``
            would give them, or ``raw`` RGB frames from a file or a pipe.
        path: the folder, picture, file or pipe.
        size: ``(width, height)`` of the frames; pictures are resized to it. None: as the pictures
            are; random ones have 640 x 480.
        severity: of the simulated camera, 1 to 5: `tvmkd.data.camera.Camera.severity`.

    Raises:
        InputError: the path does not exist, holds no pictures, or no whole raw frames.
        UsageError: raw frames without a size.
    """
    if source == "random":
        width, height = size or (640, 480)
        rng = np.random.default_rng(0)
        shape = (RANDOM_FRAMES, height, width, 3)
        frames = list(rng.integers(0, 256, shape, np.uint8))
        return Scheduled(frames, f"random pixels, {width}x{height}")
    assert path is not None
    if not path.exists():
        raise InputError(f"{path}: there is no such file, folder or pipe")
    if source == "raw":
        if size is None:
            raise UsageError("--source raw: give the frames' --size, such as 640x480")
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return RawFile(path, size)
        if stat.S_ISDIR(mode):
            raise InputError(f"{path}: is a folder, and raw frames are a file or a pipe")
        return Pipe(path, size)
    paths = images.listed([path])
    pictures = _pictures(paths, size)
    few = "" if len(pictures) == len(paths) else f"{len(pictures)} of "
    said = f"{few}{len(paths)} pictures of {path}"
    if source == "camera":
        pictures = [_seen(picture, severity, seed) for seed, picture in enumerate(pictures)]
        said += f" through a simulated camera, severity {severity}"
    return Scheduled(pictures, said)


def _pictures(paths: Sequence[Path], size: tuple[int, int] | None) -> list[Pixels]:
    """At most `MOST_FRAMES` pictures, evenly spread, decoded before the stream starts."""
    chosen = [paths[i * len(paths) // MOST_FRAMES] for i in range(MOST_FRAMES)]
    found: list[Pixels] = []
    taken = 0
    for path in dict.fromkeys(chosen) if len(paths) > MOST_FRAMES else paths:
        picture = images.read(path)
        if size is not None and picture.size != size:
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        pixels = np.array(picture)
        taken += pixels.nbytes
        if found and taken > MOST_BYTES:
            break
        found.append(pixels)
    return found


def _seen(picture: Pixels, severity: int, seed: int) -> Pixels:
    """The picture as the simulated camera gives it."""
    import torch

    from tvmkd.data.camera import corrupt

    planes = torch.from_numpy(picture.transpose(2, 0, 1)[None].copy())
    seen = corrupt(planes, severity, seed)[0].numpy()
    return np.ascontiguousarray(seen.transpose(1, 2, 0))
