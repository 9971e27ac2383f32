from __future__ import annotations

import torch
from torch import nn

from tvmkd.suites.settling import settled


def network() -> nn.Sequential:
    torch.manual_seed(0)
    head = nn.Linear(8, 4)
    nn.init.zeros_(head.weight)
    conv = nn.Conv2d(3, 8, 3, padding=1)
    return nn.Sequential(
        conv, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
    )


def test_outputs_depend_on_inputs_and_normalisations_are_no_identities() -> None:
    made = settled(network(), (1, 3, 8, 8))
    assert not made.training
    norm = made[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_mean.abs().max() > 1e-3
    with torch.no_grad():
        first, second = (made(torch.randn(1, 3, 8, 8)) for _ in range(2))
    assert (first - second).abs().max() > 1e-4


def test_a_normalisation_without_statistics_stays() -> None:
    made = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    assert settled(made, (1, 3, 4, 4))[1].running_mean is None
