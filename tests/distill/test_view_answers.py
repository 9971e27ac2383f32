from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tvmkd.distill.task import Batch
from tvmkd.distill.view_answers import ViewAnswers, likeliest, restored

CLASSES = 7


class Teacher(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(4, CLASSES)
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return (3 * self.net(images.flatten(1)),)


def batch(indices: list[int], view: int = 0) -> Batch:
    images = torch.stack([torch.full((1, 2, 2), index + view / 2) for index in indices])
    return Batch(images, None, torch.tensor(indices), 0.0, view)


def test_each_view_is_shown_to_the_teacher_once(tmp_path: Path) -> None:
    teacher = Teacher()
    asked = ViewAnswers(teacher, tmp_path, ["x"], (5, 2, CLASSES))
    first = asked(batch([3, 1]))
    assert first.dtype == torch.float32
    wanted = teacher(batch([3, 1]).images)[0].detach()
    torch.testing.assert_close(first, wanted, rtol=1e-3, atol=1e-3)
    assert torch.equal(asked(batch([1, 3])), first.flip(0))
    assert teacher.seen == 4
    other = asked(batch([1, 4], 1))
    assert not torch.equal(other[0], first[1])
    again = ViewAnswers(teacher, tmp_path, ["x"], (5, 2, CLASSES))
    assert torch.equal(again(batch([1, 4], 1)), other)
    assert teacher.seen == 6
    ViewAnswers(teacher, tmp_path, ["y"], (5, 2, CLASSES))(batch([1]))
    assert teacher.seen == 7
    # Views are numbered within their image.
    assert torch.equal(again(batch([3])), first[:1])
    assert teacher.seen == 7


def test_of_many_classes_the_likeliest_are_kept(tmp_path: Path) -> None:
    teacher = Teacher()
    asked = ViewAnswers(teacher, tmp_path, ["x"], (5, 1, CLASSES), 3)
    exact = teacher(batch([0, 2]).images)[0].detach()
    for _ in range(2):
        found = asked(batch([0, 2]))
        assert found.shape == exact.shape
        top = exact.topk(3).indices
        torch.testing.assert_close(found.gather(1, top), exact.gather(1, top), rtol=1e-3, atol=1e-3)
        # Each of the kept classes has its probability, and so have the others together.
        torch.testing.assert_close(
            found.softmax(1).gather(1, top), exact.softmax(1).gather(1, top), rtol=5e-3, atol=1e-3
        )
    assert teacher.seen == 4
    sizes = sorted(path.stat().st_size for path in tmp_path.rglob("[0-9].npy"))
    assert sizes == [128 + 5 * 2, 128 + 5 * 3 * 2, 128 + 5 * 3 * 4]


def test_the_others_share_their_probability_evenly() -> None:
    logits = torch.tensor([1 / 2, 1 / 4, 1 / 6, 1 / 12]).log()[None]
    values, places, others = likeliest(logits, 2)
    assert places.tolist() == [[0, 1]]
    found = restored(values, places, others, 4).softmax(1)
    torch.testing.assert_close(found, torch.tensor([[1 / 2, 1 / 4, 1 / 8, 1 / 8]]))
