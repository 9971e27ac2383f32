"""The size of a model: multiply-accumulates and parameters."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def macs(model: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-accumulates of one forward pass, counted on the executed operators.

    Includes convolutions, matrix products and attention, as in the literature, but not additions,
    activations and normalisation.

    Args:
        shape: shape of the only input (float32), including the batch.
    """
    # Counted on a copy on the CPU: the model's mode, device and buffers do not change.
    twin = copy.deepcopy(model).to("cpu").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(torch.zeros(tuple(shape)))
    return int(counter.get_total_flops()) // 2


def parameters(model: nn.Module) -> int:
    """The number of trainable weights."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
