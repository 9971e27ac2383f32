"""How big a model is: multiply-accumulates and parameters."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def macs(model: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-accumulates of one forward pass, counted at the operators that really run.

    Convolutions, matrix products and attention count, as in the literature; additions,
    activations and normalisation do not.

    Args:
        shape: shape of the one float32 input, batch included.
    """
    # Counted on a copy on the CPU: the model keeps its mode, its device and its buffers.
    twin = copy.deepcopy(model).to("cpu").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(torch.zeros(tuple(shape)))
    return int(counter.get_total_flops()) // 2


def parameters(model: nn.Module) -> int:
    """The number of trainable weights."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
