from __future__ import annotations

import pytest
import torch
from torch import nn

from tvmkd.data import TensorImages
from tvmkd.distill.distributed import Team
from tvmkd.distill.evaluate import evaluate


class Brightest(nn.Module):
    """Says class 1 where the one pixel is positive; in training mode always class 0."""

    def forward(self, x):
        positive = x.flatten(1)[:, :1] * (0.0 if self.training else 1.0)
        return torch.cat([torch.zeros_like(positive) + 1e-6, positive], 1)


@pytest.fixture
def images():
    pixels = torch.tensor([1.0, -1, 1, -1, 1, 1, 1]).view(-1, 1, 1, 1)
    return TensorImages(pixels, torch.tensor([1, 0, 0, 0, 1, 1, 1]), [0.0], [1.0])


def test_counts_right_answers_in_evaluation_mode(images):
    model = Brightest().train()
    score = evaluate(model, images, 3, Team(0, 1, torch.device("cpu")))
    assert score == pytest.approx(6 / 7)
    assert not model.training


def test_each_member_of_a_team_takes_its_share(images, monkeypatch):
    shares = []
    monkeypatch.setattr(Team, "total", lambda self, values: shares.append(values[0]) or [0.0])
    for rank in (0, 1):
        evaluate(Brightest(), images, 3, Team(rank, 2, torch.device("cpu")))
    # 0, 2, 4, 6 hold the one mistake; 1, 3, 5 are all right.
    assert shares == [3.0, 3.0]
