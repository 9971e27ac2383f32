"""Cuts a structure out of a network."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from tvmkd.search.soft.blocks import leave_out
from tvmkd.search.soft.choices import Choice, Structure
from tvmkd.search.soft.groups import Side


def cut(network: nn.Module, choices: Sequence[Choice], structure: Structure) -> nn.Module:
    """A copy of a network with a structure, and with the weights that stay.

    Args:
        network: whole, on the CPU, without hooks.
        choices: of that network.
        structure: options of some of them.
    """
    smaller = copy.deepcopy(network)
    going: dict[tuple[str, Side], set[int]] = defaultdict(set)
    for choice in choices:
        if choice.group is None:
            continue
        gone = set(_gone(choice, structure))
        for part in choice.group.parts if gone else ():
            channels = zip(part.channels, part.roots, strict=True)
            going[part.path, part.side] |= {channel for channel, root in channels if root in gone}
    for (path, side), numbers in going.items():
        _shrink(smaller.get_submodule(path), side, sorted(numbers))
    return leave_out(smaller, skipped(choices, structure))


def recipe(
    model: Mapping[str, Any], shape: Sequence[int], choices: Sequence[Choice], structure: Structure
) -> dict[str, Any]:
    """What `tvmkd.models.build` builds the cut network from: ``{"spec", "kwargs"}``.

    Args:
        model: ``{"spec", "kwargs"}`` of the whole network.
        shape: of one input, batch first.
        choices, structure: as for `cut`.
    """
    gone = skipped(choices, structure)
    history: list[list[Any]] = []
    for choice in choices:
        if choice.group is None:
            continue
        channels = sorted(_gone(choice, structure))
        inside = [path for path in choice.group.sources if not _below(path, gone)]
        if channels and inside:
            history.append([inside[0], True, channels])
    if not history and not gone:
        return dict(model)
    kwargs = {"base": model["spec"], "args": model["kwargs"], "shape": list(shape)}
    kwargs |= {"history": history, **({"skipped": gone} if gone else {})}
    return {"spec": "pruned", "kwargs": kwargs}


def skipped(choices: Sequence[Choice], structure: Structure) -> list[str]:
    """Paths of the blocks that go."""
    return [
        choice.name
        for choice in choices
        if choice.kind == "depth" and structure.get(choice.name, 1) == 0
    ]


def _gone(choice: Choice, structure: Structure) -> tuple[int, ...]:
    """The channels of a group that go: the least important ones."""
    assert choice.group is not None
    return choice.group.order[structure.get(choice.name, choice.group.size) :]


def _below(path: str, blocks: Sequence[str]) -> bool:
    return any(f"{path}.".startswith(f"{block}.") for block in blocks)


def _shrink(module: nn.Module, side: Side, channels: list[int]) -> None:
    """Takes channels out of one layer."""
    import torch_pruning as pruning

    if isinstance(module, nn.Linear):
        one = (
            pruning.prune_linear_out_channels
            if side == "outputs"
            else pruning.prune_linear_in_channels
        )
    elif not isinstance(module, nn.Conv2d):
        one = pruning.prune_batchnorm_out_channels
    elif module.groups > 1:
        one = pruning.prune_depthwise_conv_out_channels
    elif side == "outputs":
        one = pruning.prune_conv_out_channels
    else:
        one = pruning.prune_conv_in_channels
    one(module, channels)
