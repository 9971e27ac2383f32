from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.streaming import sources
from tvmkd.deploy.streaming.frames import Pipe, RawFile


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (20, 10), (number, 100, 200)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("source", "path", "chosen"),
    [
        (None, None, "random"),
        (None, Path("a.JPG"), "folder"),
        (None, Path("frames.rgb"), "raw"),
        (None, Path("/dev/null"), "raw"),
        ("camera", Path("a.png"), "camera"),
        ("raw", Path("a.png"), "raw"),
        ("random", None, "random"),
    ],
)
def test_the_source_is_known_by_the_path(source: sources.Source, path: Path, chosen: str) -> None:
    assert sources.choose(source, path) == chosen


def test_a_folder_is_pictures(photos: Path) -> None:
    assert sources.choose(None, photos) == "folder"


@pytest.mark.parametrize(
    ("source", "path", "line"),
    [
        ("random", Path("a"), "takes no --input"),
        ("folder", None, "give --input, pictures"),
        ("raw", None, "or - for a pipe"),
    ],
)
def test_a_source_and_its_path_go_together(source: sources.Source, path: Path, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        sources.choose(source, path)


def test_random_frames_are_the_same_each_time() -> None:
    first, second = (sources.open_frames("random", None, (8, 4)) for _ in range(2))
    assert first.pixels(0).shape == (4, 8, 3)
    assert (first.pixels(3) == second.pixels(3)).all()
    assert (first.pixels(0) != first.pixels(1)).any()


def test_pictures_are_decoded_and_resized(photos: Path) -> None:
    frames = sources.open_frames("folder", photos, None)
    assert [frames.pixels(number)[0, 0].tolist() for number in range(4)] == [
        [0, 100, 200],
        [1, 100, 200],
        [2, 100, 200],
        [0, 100, 200],
    ]
    assert frames.describes == f"3 pictures of {photos}"
    assert sources.open_frames("folder", photos, (6, 8)).pixels(0).shape == (8, 6, 3)


def test_of_many_pictures_some_are_taken_evenly(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MOST_FRAMES", 2)
    frames = sources.open_frames("folder", photos, None)
    assert [int(frames.pixels(number)[0, 0, 0]) for number in range(3)] == [0, 1, 0]
    assert frames.describes == f"2 of 3 pictures of {photos}"
    monkeypatch.setattr(sources, "MOST_FRAMES", 64)
    monkeypatch.setattr(sources, "MOST_BYTES", 10)
    assert sources.open_frames("folder", photos, None).describes.startswith("1 of 3")


def test_a_camera_sees_the_same_pictures_with_noise(photos: Path) -> None:
    plain = sources.open_frames("folder", photos, (32, 32))
    seen = sources.open_frames("camera", photos, (32, 32), 3)
    assert seen.pixels(0).dtype == np.uint8
    assert seen.pixels(0).shape == (32, 32, 3)
    assert (seen.pixels(0) != plain.pixels(0)).any()
    assert "severity 3" in seen.describes


def test_raw_frames_of_a_file_or_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(bytes(24))
    assert isinstance(sources.open_frames("raw", path, (4, 2)), RawFile)
    read, write = os.pipe()
    os.close(write)
    assert isinstance(sources.open_frames("raw", Path(f"/proc/self/fd/{read}"), (4, 2)), Pipe)
    os.close(read)


def test_standard_input_has_a_path() -> None:
    assert Path(sources.stdin_path()).parent == Path(f"/proc/{os.getpid()}/fd")


@pytest.mark.parametrize(
    ("name", "size", "kind", "line"),
    [
        ("none", None, InputError, "there is no such file"),
        ("file", None, UsageError, "give the frames' --size"),
        (".", (4, 2), InputError, "is a folder"),
    ],
)
def test_what_cannot_be_opened(
    tmp_path: Path, name: str, size: tuple[int, int] | None, kind: type[Exception], line: str
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(kind, match=line):
        sources.open_frames("raw", tmp_path / name, size)
