"""Lays a network's convolutions out for training: channels-last where that is safe."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

THIN = 16  # input channels of a group; with fewer, see `is_thin`


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Moves a network, its convolutions channels-last: what GPUs and CPUs train fastest.

    On the CPU the thin ones stay contiguous, and get their images so.
    """
    network = network.to(device).to(memory_format=torch.channels_last)
    for module in network.modules() if device.type == "cpu" else ():
        if is_thin(module):
            assert isinstance(module, nn.Conv2d)
            # Not `contiguous`: a 1 x 1 kernel is both, and its strides decide.
            module.weight.data = module.weight.data.clone(memory_format=torch.contiguous_format)
            if _contiguous not in module._forward_pre_hooks.values():
                module.register_forward_pre_hook(_contiguous)
    return network


def is_thin(module: nn.Module) -> bool:
    """True for a 1 x 1 convolution with a stride and fewer than 16 channels.

    The gradient of such a one, channels-last on a CPU with AVX-512, writes beyond its memory in
    oneDNN (PyTorch 2.14): the process dies, or computes with what it overwrote.
    """
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(map(int, module.stride)) > 1
        and module.in_channels // module.groups < THIN
    )


def _contiguous(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    del module
    return tuple(
        # A single channel or pixel is both; then, too, the strides decide.
        value.clone(memory_format=torch.contiguous_format)
        if isinstance(value, Tensor)
        and value.ndim == 4
        and value.is_contiguous(memory_format=torch.channels_last)
        else value
        for value in inputs
    )
