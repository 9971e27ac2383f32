"""Networks with random weights that behave as if they had been trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

BATCH = 4


def settled(network: nn.Module, shape: Sequence[int]) -> nn.Module:
    """Changes a network's random weights so that its outputs depend on its inputs.

    Fresh batch normalisations are the identity, which an optimiser could fold away, and in deep
    networks the values vanish: they get the statistics of a batch of noise, a little displaced. A
    transformer's head starts as zeros, and every output would be right.

    Args:
        network: the network; torch's random state decides.
        shape: of its one float32 input, batch first.

    Returns:
        the same network, in evaluation mode.
    """
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(BATCH, *shape[1:]))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            mean, var = module.running_mean, module.running_var
            assert mean is not None
            assert var is not None
            deviation = var.sqrt()
            mean += deviation * torch.empty_like(deviation).uniform_(-0.1, 0.1)
            var *= torch.empty_like(deviation).uniform_(0.8, 1.25)
    return network.eval()
