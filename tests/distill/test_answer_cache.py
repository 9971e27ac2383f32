from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tvmkd.base.errors import InputError
from tvmkd.distill.answer_cache import AnswerCache, Part

PARTS = (Part((3,)), Part((2, 2)), Part((1,), "int32"))


class Asked:
    """An answer for each row, and how often each row was asked for."""

    def __init__(self, rows: list[int]) -> None:
        self.rows, self.places = np.array(rows), []

    def __call__(self, places):
        self.places += places.tolist()
        rows = torch.from_numpy(self.rows[places]).float()
        return [
            rows[:, None] + torch.arange(3),
            rows[:, None, None].expand(-1, 2, 2),
            rows[:, None],
        ]


def recall(cache: AnswerCache, rows: list[int]) -> list[int]:
    """Checks the answers; returns the places that were asked for."""
    asked = Asked(rows)
    first, second, third = cache.recall(np.array(rows, np.intp), asked)
    assert first.dtype == second.dtype == np.float16
    assert third.dtype == np.int32
    assert first.tolist() == [[row, row + 1, row + 2] for row in rows]
    assert second.tolist() == [[[row, row], [row, row]] for row in rows]
    assert third.tolist() == [[row] for row in rows]
    return asked.places


def test_each_row_is_asked_for_once_by_whatever_process(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path, "x", 10, PARTS)
    assert recall(cache, [4, 2, 7]) == [0, 1, 2]
    assert recall(cache, [2, 9, 4]) == [1]
    assert recall(cache, []) == []
    again = AnswerCache(tmp_path, "x", 10, PARTS)
    assert recall(again, [9, 7, 0, 4, 2]) == [2]
    assert recall(cache, [0]) == []  # both look at the same pages
    assert recall(AnswerCache(tmp_path, "y", 10, PARTS), [2]) == [0]


def test_a_process_that_ends_while_it_asks_leaves_nothing_half_known(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path, "x", 10, PARTS)

    def dies(places):
        good = Asked([1, 2])(places)
        return [good[0], good[1], SimpleNamespace(detach=lambda: 1 / 0)]

    with pytest.raises(ZeroDivisionError):
        cache.recall(np.array([1, 2]), dies)
    assert recall(AnswerCache(tmp_path, "x", 10, PARTS), [1, 2]) == [0, 1]


@pytest.mark.parametrize("name", ["0.npy", "1.npy", "2.npy", "there.npy"])
@pytest.mark.parametrize("spoil", [lambda data: b"no array", lambda data: data[:-1], None])
def test_what_is_damaged_or_gone_is_asked_for_again(tmp_path: Path, name: str, spoil) -> None:
    recall(AnswerCache(tmp_path, "x", 10, PARTS), [1, 2])
    (path,) = tmp_path.rglob(name)
    if spoil is None:
        path.unlink()
    else:
        path.write_bytes(spoil(path.read_bytes()))
    assert recall(AnswerCache(tmp_path, "x", 10, PARTS), [1, 2, 3]) == [0, 1, 2]


def test_a_file_of_another_shape_is_not_used(tmp_path: Path) -> None:
    recall(AnswerCache(tmp_path, "x", 12, PARTS), [1])
    assert recall(AnswerCache(tmp_path, "x", 10, PARTS), [1]) == [0]


def test_a_logit_that_is_too_large_stays_finite(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path, "x", 1, [Part((2,))])
    (found,) = cache.recall(np.array([0]), lambda places: [torch.tensor([[1e6, -1e6]])])
    assert found.tolist() == [[65504.0, -65504.0]]


def test_what_was_never_written_still_needs_its_space(tmp_path: Path, monkeypatch) -> None:
    rows = 100_000
    recall(AnswerCache(tmp_path, "x", rows, PARTS), [4])
    usage = SimpleNamespace(free=rows * (6 + 8 + 4) // 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="the disk has"):
        AnswerCache(tmp_path, "x", rows, PARTS)
    usage.free *= 2
    AnswerCache(tmp_path, "x", rows, PARTS)


def test_a_disk_with_too_little_space_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=10 * (6 + 8 + 4) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"the teacher's answers need .* GB, .* fewer views"):
        AnswerCache(tmp_path, "x", 10, PARTS)
    usage.free += 1
    recall(AnswerCache(tmp_path, "x", 10, PARTS), [1])
    usage.free = 0  # what is there needs no more
    assert recall(AnswerCache(tmp_path, "x", 10, PARTS), [1]) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        AnswerCache(tmp_path / "file", "x", 2, PARTS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        AnswerCache(tmp_path, "x", 2, PARTS)
