"""Which channels go: whole groups that depend on one another, the least important first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tvmkd.base.errors import InputError


def shrink(
    network: nn.Module,
    shape: Sequence[int],
    ratio: float,
    multiple: int,
    keep: Sequence[nn.Module],
) -> list[list[Any]]:
    """Takes channels out of ``network`` in place.

    A convolution's outputs, the normalisation behind it, depthwise convolutions and whatever else
    has to have as many channels lose the same ones (DepGraph, Fang et al., 2023, by Torch-Pruning).
    Of each such group the channels with the smallest weights go. What gives the classes stays.

    Args:
        network: on the CPU.
        shape: of one input, batch first.
        ratio: share of each group's channels, above 0 and below 1; what stays is rounded to
            ``multiple``.
        multiple: what the target wants channel counts to be a multiple of.
        keep: layers whose outputs stay: see `tvmkd.distill.task.Task.fixed_outputs`.

    Returns:
        ``[module's path, whether output channels, indices]`` of each group, JSON-safe; empty where
        nothing could go at that multiple.

    Raises:
        InputError: Torch-Pruning cannot follow the network.
    """
    import torch_pruning

    mode = network.training
    try:
        pruner = torch_pruning.pruner.BasePruner(
            network.eval(),
            torch.zeros(tuple(shape)),
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            round_to=multiple,
            ignored_layers=list(keep),
        )
        pruner.step()
    except Exception as error:  # it traces the network, and raises what it likes
        text = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{type(network).__name__}: Torch-Pruning cannot follow it: "
            f"{type(error).__name__}: {text[:200]}"
        ) from error
    network.train(mode)
    return [
        [str(path), bool(outputs), [int(index) for index in indices]]
        for path, outputs, indices in pruner.DG.pruning_history()
        if len(indices)
    ]


def widths(network: nn.Module) -> dict[str, int]:
    """Output channels of each convolution, by its path."""
    return {
        path: module.out_channels
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }
