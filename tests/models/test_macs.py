from __future__ import annotations

import torch
from torch import nn

from tvmkd.models.macs import macs, parameters


def test_counts_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),  # 8·3·9·100
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # 8·9·100
        nn.Conv2d(8, 16, 1, stride=2),  # 16·8·25
        nn.Flatten(),
        nn.Linear(400, 10),  # 4000
    )
    assert macs(model, (1, 3, 10, 10)) == 21600 + 7200 + 3200 + 4000
    assert macs(model, (2, 3, 10, 10)) == 2 * 36000
    assert parameters(model) == (216 + 8) + (72 + 8) + (128 + 16) + 4010


def test_the_model_is_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    macs(model, (1, 1, 8, 8))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_frozen_weights_do_not_count():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert parameters(model) == 6
