from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny_detectors import tiny

from tvmkd.base.errors import InputError
from tvmkd.distill.detector.losses import Answers
from tvmkd.distill.detector.teacher_cache import Teacher


def flat(answers: Answers) -> list[torch.Tensor]:
    return [answers.logits, answers.boxes, *answers.features]


class Counted:
    """How many images a teacher was asked about."""

    def __init__(self, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = 0
        ask = teacher._ask

        def count(images: torch.Tensor) -> Answers:
            self.images += len(images)
            return ask(images)

        monkeypatch.setattr(teacher, "_ask", count)


def test_it_is_asked_once_of_each_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Teacher(tiny(), [0, 2], tmp_path, "x", (5, 2))
    images, asked = torch.rand(3, 3, 64, 64), Counted(teacher, monkeypatch)
    fresh = Teacher(tiny(), [0, 2]).answer(images, [0, 3, 4], 1)
    first = teacher.answer(images, [0, 3, 4], 1)
    again = teacher.answer(torch.zeros_like(images), [0, 3, 4], 1)
    assert asked.images == 3
    for one, two, three in zip(flat(fresh), flat(first), flat(again), strict=True):
        assert torch.allclose(one, two, rtol=2e-3, atol=2e-3)  # float16 on disk
        assert torch.equal(two, three)
    teacher.answer(images, [0, 3, 4], 0)
    assert asked.images == 6


def test_a_trained_layer_may_read_maps_that_are_not_kept() -> None:
    answers = Teacher(tiny(), [0]).answer(torch.rand(1, 3, 64, 64), [0], 0)
    feature = answers.map(0)
    layer = torch.nn.Conv2d(feature.shape[1], 1, 1)
    layer(feature).sum().backward()
    assert bool(layer.weight.grad.any())
    assert not feature.requires_grad


def test_another_process_reads_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(2, 3, 64, 64)
    Teacher(tiny(), [1], tmp_path, "x", (5, 2)).answer(images, [1, 2], 0)
    other = Teacher(tiny(), [1], tmp_path, "x", (5, 2))
    asked = Counted(other, monkeypatch)
    other.answer(images, [1, 2], 0)
    assert asked.images == 0
    elsewhere = Teacher(tiny(), [1], tmp_path, "another teacher", (5, 2))
    asked = Counted(elsewhere, monkeypatch)
    elsewhere.answer(images, [1, 2], 0)
    assert asked.images == 2


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 64, 64)
    wanted = Teacher(tiny(), [], tmp_path, "x", (2, 1)).answer(images, [0, 1], 0)
    (folder,) = tmp_path.iterdir()
    for name in ("0.npy", "there.npy"):
        (folder / name).write_bytes(b"no array")
    found = Teacher(tiny(), [], tmp_path, "x", (2, 1)).answer(images, [0, 1], 0)
    assert torch.equal(found.logits, wanted.logits)


def test_one_damaged_file_spoils_none_of_the_others(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 64, 64)
    wanted = Teacher(tiny(), [], tmp_path, "x", (2, 1)).answer(images, [0, 1], 0)
    (folder,) = tmp_path.iterdir()
    (folder / "0.npy").write_bytes(b"no array")
    found = Teacher(tiny(), [], tmp_path, "x", (2, 1)).answer(images, [0, 1], 0)
    assert torch.equal(found.logits, wanted.logits)


def test_answers_say_which_maps_they_hold(tmp_path: Path) -> None:
    """The second and third map alone: those of a coarser student."""
    images = torch.rand(1, 3, 64, 64)
    for folder in (None, tmp_path):
        found = Teacher(tiny(), [1, 2], folder, "x", (2, 1)).answer(images, [0], 0)
        assert found.places == (1, 2)
        assert [found.map(place).shape[-1] for place in (1, 2)] == [4, 2]


def test_too_small_a_disk_is_told_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny()
    Teacher(network, [0], tmp_path / "small", "x", (2, 1))
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"answers need 1\d*\.\d GB, and the disk has 0\.0"):
        Teacher(network, [0], tmp_path / "large", "x", (50_000, 4))
    assert Teacher(network, [0], tmp_path / "small", "x", (2, 1)) is not None


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Teacher(tiny(), [], tmp_path / "file", "x", (2, 1))
