"""The residual blocks that a network can do without.

A block whose input is added to its output may be left out, as ProxylessNAS (Cai et al., 2019,
arXiv:1812.00332) and FBNet (Wu et al., 2019, arXiv:1812.03443) leave out layers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tvmkd.search.soft import groups

LEAST_LAYERS = 2  # convolutions or matrix products that are worth a choice


def find(network: nn.Module, shape: Sequence[int], fixed: Sequence[nn.Module]) -> list[str]:
    """Paths of the outermost residual blocks, in the network's order.

    A block is a member of an ``nn.Sequential`` or ``nn.ModuleList`` that runs once and whose output
    has the shape of its input. It is residual if the network without it has the same groups of
    channels: in a plain chain the channels before and behind it would have to become one group.

    Args:
        network: on the CPU.
        shape: of one input, batch first.
        fixed: as for `tvmkd.search.soft.groups.find`.

    Raises:
        InputError: Torch-Pruning cannot follow the network.
    """
    names = {module: path for path, module in network.named_modules()}
    kept = [names[module] for module in fixed if module in names]
    whole = groups.partition(network, shape, fixed)
    found: list[str] = []
    candidates = _candidates(network, shape)
    for path in candidates:
        inside = [other for other in candidates if other.rpartition(".")[0] == path]
        if inside and isinstance(network.get_submodule(path), nn.Sequential):
            continue  # a row of blocks: each is a choice
        if any(path.startswith(f"{outer}.") for outer in found):
            continue
        if any(name == path or name.startswith(f"{path}.") for name in kept):
            continue
        without = leave_out(copy.deepcopy(network), [path])
        parts = groups.partition(without, shape, [without.get_submodule(name) for name in kept])
        if parts <= {_without(group, path) for group in whole}:
            found.append(path)
    return found


def leave_out(network: nn.Module, paths: Sequence[str]) -> nn.Module:
    """Puts identities in the places of blocks; returns the network."""
    for path in paths:
        network.set_submodule(path, nn.Identity(), strict=True)
    return network


def _without(
    group: frozenset[tuple[str, groups.Side]], path: str
) -> frozenset[tuple[str, groups.Side]]:
    return frozenset(part for part in group if not part[0].startswith(f"{path}."))


def _candidates(network: nn.Module, shape: Sequence[int]) -> list[str]:
    """Members of sequences that run once, on a tensor, and keep its shape."""
    members = {
        child
        for parent in network.modules()
        if isinstance(parent, (nn.Sequential, nn.ModuleList))
        for child in parent
    }
    runs: dict[str, list[bool]] = {}

    def hook(path: str) -> Any:
        def note(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            tensors = len(inputs) == 1 and isinstance(inputs[0], Tensor)
            same = tensors and isinstance(output, Tensor) and output.shape == inputs[0].shape
            runs.setdefault(path, []).append(same)

        return note

    hooks = [
        module.register_forward_hook(hook(path))
        for path, module in network.named_modules()
        if module in members and _layers(module) >= LEAST_LAYERS
    ]
    mode = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(tuple(shape)))
    finally:
        network.train(mode)
        for each in hooks:
            each.remove()
    return [path for path, _ in network.named_modules() if runs.get(path) == [True]]


def _layers(module: nn.Module) -> int:
    return sum(isinstance(each, (nn.Conv2d, nn.Linear)) for each in module.modules())
