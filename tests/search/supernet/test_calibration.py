from __future__ import annotations

import torch
from torch import nn

from tvmkd.search.supernet.calibration import BATCH, calibrate


def test_statistics_are_those_of_the_images() -> None:
    torch.manual_seed(0)
    images = torch.randn(4 * BATCH, 3, 4, 4) * 2 + 5
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.BatchNorm2d(3, momentum=0.3))
    network[0].running_mean.fill_(100)
    assert calibrate(network, images) is network
    assert not any(module.training for module in network.modules())
    assert torch.allclose(network[0].running_mean, images.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(network[0].running_var, images.var((0, 2, 3)), atol=2e-2)
    # What comes in there is normalised, and dropout lets it through.
    assert torch.allclose(network[2].running_mean, torch.zeros(3), atol=1e-4)
    assert torch.allclose(network[2].running_var, torch.ones(3), atol=2e-2)
    assert int(network[0].num_batches_tracked) == 4
    assert (network[0].momentum, network[2].momentum) == (0.1, 0.3)


def test_few_images_are_one_batch_and_none_is_alone() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2))
    calibrate(network, torch.randn(BATCH + 1, 2))
    assert int(network[0].num_batches_tracked) == 1


def test_layers_that_keep_no_statistics_stay() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.LayerNorm(3))
    assert not calibrate(network, torch.randn(4, 2, 3, 3)).training
