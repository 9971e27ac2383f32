from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from streams import MS, FakeClock

from tvmkd.base.errors import InputError
from tvmkd.deploy.streaming.frames import Pipe, RawFile, Release, Scheduled

PERIOD = 10 * MS


def images(count: int) -> list[np.ndarray]:
    return [np.full((2, 4, 3), number, np.uint8) for number in range(count)]


def test_frames_are_due_at_absolute_times_whatever_they_take() -> None:
    clock = FakeClock()
    frames = Scheduled(images(3), "three")
    frames.start(clock, clock.time, PERIOD)
    begin = clock.time + PERIOD
    due = []
    for number in range(5):
        due.append(frames.next())
        clock.spend(1.37 * number)  # less than the period
    assert due == [Release(number, begin + number * PERIOD) for number in range(5)]
    assert [int(frames.pixels(each.number)[0, 0, 0]) for each in due] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("spent", "number", "late"),
    [(9.9, 1, 0.0), (10.0, 1, 0.0), (15.0, 1, 5.0), (19.9, 1, 9.9), (20.0, 2, 0.0), (57.0, 5, 7.0)],
)
def test_the_newest_frame_is_next_and_older_ones_are_dropped(
    spent: float, number: int, late: float
) -> None:
    clock = FakeClock()
    frames = Scheduled(images(1), "one")
    frames.start(clock, clock.time, PERIOD)
    first = frames.next()
    clock.spend(spent)
    found = frames.next()
    assert found.number == number
    assert found.at == first.at + number * PERIOD
    assert clock.time - found.at == round(late * MS)


def test_a_raw_file_is_read_frame_by_frame_and_again(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(np.stack(images(3)).tobytes())
    frames = RawFile(path, (4, 2))
    found = [frames.pixels(number).copy() for number in (0, 2, 4)]
    assert [int(each[1, 3, 2]) for each in found] == [0, 2, 1]
    assert found[0].shape == (2, 4, 3)


@pytest.mark.parametrize(("size", "count"), [((4, 3), 48), ((4, 2), 0)])
def test_a_raw_file_must_hold_whole_frames(
    tmp_path: Path, size: tuple[int, int], count: int
) -> None:
    path = tmp_path / "raw"
    path.write_bytes(bytes(count))
    with pytest.raises(InputError, match=f"{count} bytes are no whole number of RGB frames"):
        RawFile(path, size)
    with pytest.raises(InputError, match="No such file"):
        RawFile(tmp_path / "none", size)


class Camera(Pipe):
    """A pipe whose frames arrive at given times of a fake clock."""

    def __init__(self, path: Path, arrivals: list[float], clock: FakeClock) -> None:
        super().__init__(path, (4, 2))
        self.arrivals, self.fake = [round(ms * MS) for ms in arrivals], clock
        self.begin = clock.time

    def _fill(self) -> bool:
        if not self.arrivals:
            return False
        self.fake.time = max(self.fake.time, self.begin + self.arrivals.pop(0))
        return True


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    path.write_bytes(b"")
    return path


def releases(empty: Path, arrivals: list[float], spent: list[float]) -> list[tuple[int, float]]:
    """Number and release (ms) of each frame that is taken, after so many ms of work each."""
    clock = FakeClock()
    camera = Camera(empty, arrivals, clock)
    camera.start(clock, clock.time, PERIOD)
    found = []
    for ms in spent:
        due = camera.next()
        if due is None:
            break
        found.append((due.number, (due.at - camera.begin) / MS))
        clock.spend(ms)
    return found


def test_a_cameras_frames_are_released_when_they_arrive(empty: Path) -> None:
    assert releases(empty, [5, 15, 25.1], [1, 1, 1, 1]) == [(0, 5), (1, 15), (2, 25)]


def test_a_camera_that_is_slower_keeps_the_time(empty: Path) -> None:
    # A frame that came after its nominal time was waited for; it counts from the nominal time.
    found = releases(empty, [0, 9.9, 19.8], [1, 1, 1])
    assert found == [(0, 0), (1, 9.9), (2, 19.8)]


def test_frames_that_came_during_a_long_one_are_read_and_dropped(empty: Path) -> None:
    found = releases(empty, [0, 10, 20, 30, 40, 50], [34, 1, 1])
    assert found == [(0, 0), (3, 30), (4, 40)]


def test_a_pipe_gives_its_bytes_and_ends(tmp_path: Path) -> None:
    read, write = os.pipe()
    whole = np.stack(images(2)).tobytes()
    os.write(write, whole + b"part of a frame")
    os.close(write)
    frames = Pipe(Path(f"/proc/self/fd/{read}"), (4, 2))
    frames.start(FakeClock(), 0, PERIOD)
    seen = []
    while (due := frames.next()) is not None:
        seen.append((due.number, int(frames.pixels(due.number)[1, 1, 1])))
    os.close(read)
    assert seen == [(0, 0), (1, 1)]
