"""The groups of channels of a network: those that must go together, and the layers that have them.

Torch-Pruning follows the network (DepGraph, Fang et al., 2023, arXiv:2301.12900). A group is left
out where cutting and masking would not be the same: at a normalisation over channels, at a grouped
convolution, at a bare parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.base.text import first_line

Side = Literal["inputs", "outputs"]


@dataclass(frozen=True)
class Part:
    """A group's channels in one layer.

    Attributes:
        path: of the layer, as in ``named_modules()``.
        side: whether they come into it or out of it; of a normalisation or a depthwise
            convolution they do both, and count as outputs.
        channels: of that side of the layer.
        roots: for each of them the channel of the group.
    """

    path: str
    side: Side
    channels: tuple[int, ...]
    roots: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Channels that must go together.

    Attributes:
        name: path of the first layer that computes them.
        size: how many they are.
        order: the channels, the most important one first.
        parts: where they are.
        sources: paths of the layers that compute them, channel by channel, in the network's order.
    """

    name: str
    size: int
    order: tuple[int, ...]
    parts: tuple[Part, ...]
    sources: tuple[str, ...]

    @property
    def layers(self) -> frozenset[str]:
        """Paths of the layers whose cost depends on the group."""
        return frozenset(part.path for part in self.parts)


def find(network: nn.Module, shape: Sequence[int], fixed: Sequence[nn.Module]) -> list[Group]:
    """The groups whose channels can be masked and cut.

    Args:
        network: on the CPU.
        shape: of one input, batch first.
        fixed: layers whose outputs stay: see `tvmkd.distill.task.Task.fixed_outputs`.

    Raises:
        InputError: Torch-Pruning cannot follow the network.
    """
    import torch_pruning

    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    places = {path: place for place, (path, _) in enumerate(network.named_modules())}
    found = []
    for raw, parts in _traced(network, shape, fixed):
        size = len(raw[0].idxs)
        whole = tuple(range(size))
        sources = tuple(
            part.path
            for part in parts or ()
            if part.side == "outputs"
            and part.channels == part.roots == whole
            and _made_channels(network.get_submodule(part.path)) == size
        )
        scores = importance(raw) if parts and sources else None
        if parts and sources and scores is not None and len(scores) == size:
            sources = tuple(sorted(sources, key=places.__getitem__))
            order = torch.argsort(scores, descending=True, stable=True)
            found.append(Group(sources[0], size, tuple(order.tolist()), parts, sources))
    return sorted(found, key=lambda group: places[group.name])


def partition(
    network: nn.Module, shape: Sequence[int], fixed: Sequence[nn.Module]
) -> set[frozenset[tuple[str, Side]]]:
    """All groups, masked or not, as the layers' sides that belong together.

    Raises:
        InputError: as `find`.
    """
    paths = {module: path for path, module in network.named_modules()}
    return {
        frozenset(
            (paths[item.dep.target.module], _side(item))
            for item in raw
            if item.dep.target.module in paths
        )
        for raw, _ in _traced(network, shape, fixed)
    }


def _traced(
    network: nn.Module, shape: Sequence[int], fixed: Sequence[nn.Module]
) -> Iterator[tuple[Any, tuple[Part, ...] | None]]:
    """Torch-Pruning's groups, and their parts where the group can be masked."""
    import torch_pruning

    mode = network.training
    paths = {module: path for path, module in network.named_modules()}
    try:
        # With gradients: the dependencies are found by walking them.
        with torch.enable_grad():
            graph = torch_pruning.DependencyGraph().build_dependency(
                network.eval(), torch.zeros(tuple(shape)), verbose=False
            )
            groups = list(graph.get_all_groups(list(fixed)))
    except Exception as error:  # it traces the network, and raises what it likes
        raise InputError(
            f"{type(network).__name__}: Torch-Pruning cannot follow it: "
            f"{type(error).__name__}: {first_line(error)[:200]}"
        ) from error
    finally:
        network.train(mode)
    for raw in groups:
        yield raw, _parts(raw, paths)


def _parts(raw: Any, paths: dict[nn.Module, str]) -> tuple[Part, ...] | None:
    """Where a group's channels are; None where it cannot be masked."""
    found = []
    for item in raw:
        module = item.dep.target.module
        if module not in paths:
            if isinstance(module, nn.Parameter):
                return None
            continue  # an operator between layers
        if not _supported(module) or any(root is None for root in item.root_idxs):
            return None
        found.append(Part(paths[module], _side(item), tuple(item.idxs), tuple(item.root_idxs)))
    return tuple(found)


def _side(item: Any) -> Side:
    """The side of a layer that an item of Torch-Pruning's changes."""
    module, handler = item.dep.target.module, item.dep.handler
    both = not isinstance(module, (nn.Conv2d, nn.Linear)) or _is_depthwise(module)
    return "outputs" if both or handler.__name__ == "prune_out_channels" else "inputs"


def _made_channels(module: nn.Module) -> int:
    """How many channels a layer computes; 0 if it passes them through."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) and module.groups == 1 else 0


def _supported(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 or _is_depthwise(module)
    return isinstance(module, (nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d))


def _is_depthwise(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == module.in_channels == module.out_channels > 1
    )
