from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import small
from torch import nn

from tvmkd import data
from tvmkd.data import TensorImages
from tvmkd.distill import teacher_cache
from tvmkd.distill.distributed import Team

ALONE = Team(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def splits():
    return data.load(small().data)


class Counting(nn.Module):
    """A teacher that counts how often it is asked, and is random while it trains."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return self.net(images)


def test_a_second_call_asks_nobody(splits, tmp_path: Path) -> None:
    teacher = Counting()
    first = teacher_cache.logits(teacher, "a", splits, tmp_path, ALONE)
    asked = teacher.calls
    second = teacher_cache.logits(teacher, "a", splits, tmp_path, ALONE)
    assert teacher.calls == asked > 0
    torch.testing.assert_close(first, second)
    teacher.eval()
    with torch.no_grad():
        wanted = teacher(splits.train.get(torch.arange(len(splits.train.labels))))
    torch.testing.assert_close(first, wanted)


def test_arguments_and_code_are_in_the_fingerprint(tmp_path: Path) -> None:
    """A mobilevit's kinds of attention have the same weights, and answer differently."""
    code, teacher = tmp_path / "my_teacher.py", nn.Linear(2, 2)

    def found(**section: object) -> str:
        return teacher_cache.fingerprint(small(teacher=section), teacher, [tmp_path])

    full = found(model="mobilevit", args={"attention": "full"})
    assert full == found(model="mobilevit", args={"attention": "full"}, epochs=7)
    assert full != found(model="mobilevit", args={"attention": "linear"})
    code.write_text("a = 1")
    before = found(model="my_teacher:Net")
    code.write_text("a = 2")
    assert found(model="my_teacher:Net") != before
    nn.init.zeros_(teacher.weight)
    assert found(model="mobilevit", args={"attention": "full"}) != full


def test_another_teacher_has_another_file_and_half_a_file_is_made_anew(splits, tmp_path) -> None:
    teacher = Counting()
    teacher_cache.logits(teacher, "a", splits, tmp_path, ALONE)
    teacher_cache.logits(teacher, "b", splits, tmp_path, ALONE)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    files[0].write_bytes(files[0].read_bytes()[:100])
    asked = teacher.calls
    for name in "ab":
        teacher_cache.logits(teacher, name, splits, tmp_path, ALONE)
    assert teacher.calls > asked
    assert all(len(np.load(path)) == len(splits.train.labels) for path in files)


@pytest.mark.parametrize("spoil", [lambda x: x[:-1], lambda x: x[:, :-1], lambda x: x.astype("f8")])
def test_a_file_of_another_shape_or_type_is_made_anew(splits, tmp_path: Path, spoil) -> None:
    teacher = Counting()
    first = teacher_cache.logits(teacher, "a", splits, tmp_path, ALONE)
    (path,) = tmp_path.iterdir()
    np.save(path, spoil(np.load(path)))
    second = teacher_cache.logits(teacher, "a", splits, tmp_path, ALONE)
    torch.testing.assert_close(second, first)
    torch.testing.assert_close(torch.from_numpy(np.load(path)), first)


def test_other_data_has_another_file(splits, tmp_path: Path) -> None:
    teacher = Counting()
    first = teacher_cache.logits(teacher, "a", splits, tmp_path, ALONE)
    pixels = torch.zeros(len(splits.train.labels), 1, 8, 8)
    black = TensorImages(pixels, splits.train.labels, [0.0], [1.0])
    other = replace(splits, train=black, sha256="other")
    second = teacher_cache.logits(teacher, "a", other, tmp_path, ALONE)
    assert not torch.equal(first, second)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_teacher_keeps_its_mode(splits, tmp_path: Path) -> None:
    teacher = Counting().train()
    teacher_cache.logits(teacher, "a", splits, tmp_path, ALONE)
    assert teacher.training


def test_confidence_is_the_probability_of_the_own_class() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    found = teacher_cache.confidence(logits, torch.tensor([1, 0]))
    torch.testing.assert_close(found, torch.tensor([1 / (1 + 2.718281828**2), 0.5]))
