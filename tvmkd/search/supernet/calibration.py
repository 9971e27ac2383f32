"""The statistics of batch normalisation, computed anew for a network with shared weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

BATCH = 128  # images that are normalised together


def calibrate(network: nn.Module, images: Tensor) -> nn.Module:
    """Sets the running statistics to those of the activations of real images.

    Those of the largest network do not suit its parts (Yu et al., "BigNAS", 2020, 3.2). Every
    batch counts alike; other layers, such as dropout, are in evaluation mode.

    Args:
        network: changed in place, and in evaluation mode afterwards.
        images: training images, float ``[N, C, H, W]`` on the network's device, at least 2.
    """
    norms = [
        module
        for module in network.eval().modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    if not norms:
        return network
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over the batches
        norm.train()
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    # Batches of one size, for they count alike; none of a single image.
    parts = max(1, len(images) // BATCH)
    with torch.no_grad():
        for batch in torch.tensor_split(images, parts):
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()
