from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import learner_heads
import numpy as np
import pytest

from tvmkd.deploy.board_learner import head_file
from tvmkd.deploy.board_learner.head_file import LearnError, head_bytes, parse_head, read_head


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = learner_heads.head()
    made.added, made.updates, made.rejected, made.rollbacks = 1, 2, 3, 4
    made.origin = bytes(range(32, 64))
    head_file.write_head(str(tmp_path / "a"), made)
    found = read_head(str(tmp_path / "a"))
    for ours, theirs in zip(made.parts(), found.parts(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    names = ("classes", "shipped", "random", "model", "origin", "added", "updates", "rejected")
    assert [getattr(made, name) for name in names] == [getattr(found, name) for name in names]
    assert [each.count for each in (found.replay, found.guard, found.fresh)] == [24, 40, 0]
    data = (tmp_path / "a").read_bytes()
    assert found.digest == data[-32:] == hashlib.sha256(data[:-32]).digest()
    assert os.listdir(tmp_path) == ["a"]


def test_every_damaged_byte_is_noticed() -> None:
    data = bytearray(head_bytes(learner_heads.head()))
    for place in range(0, len(data), 37):
        data[place] ^= 1
        with pytest.raises(LearnError):
            parse_head(bytes(data), "a")
        data[place] ^= 1
    parse_head(bytes(data), "a")


def signed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:100], "a: is no head"),
        (lambda data: b"\x7fELF" + data[4:], "a: is no head"),
        (lambda data: data[:-1], "its SHA-256 is another"),
        (lambda data: signed(data[:-40]), "its length does not fit its sizes"),
        (lambda data: signed(data[:12] + b"\xff\xff" + data[14:-32]), "its sizes contradict"),
        (lambda data: signed(data[:152] + b"\0\0\xc0\x7f" + data[156:-32]), "is not finite"),
    ],
)
def test_bad_files(change: object, said: str) -> None:
    data = head_bytes(learner_heads.head())
    with pytest.raises(LearnError, match=said):
        parse_head(change(data), "a")  # type: ignore[operator]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(LearnError, match=r"none: cannot be read: No such file"):
        read_head(str(tmp_path / "none"))
    with pytest.raises(LearnError, match=r"cannot be read: Is a directory"):
        read_head(str(tmp_path))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = learner_heads.written(tmp_path)
    before = Path(path).read_bytes()

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(head_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        head_file.write_head(path, learner_heads.head(seed=8))
    assert Path(path).read_bytes() == before
    assert os.listdir(tmp_path) == ["head.bin"]


def test_killed_while_it_writes(tmp_path: Path) -> None:
    """Whatever the moment, the file is a whole one."""
    path = learner_heads.written(tmp_path)
    code = (
        "import sys; from tvmkd.deploy.board_learner.head_file import *\n"
        "head = read_head(sys.argv[1])\n"
        "while True:\n    head.added += 1\n    write_head(sys.argv[1], head)\n"
    )
    seen = set()
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", code, path])
        before, end = os.stat(path).st_ino, time.monotonic() + 60
        while os.stat(path).st_ino == before and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.add(read_head(path).added)
    assert len(seen) == 2
