"""Which channels of a network belong together, so that smaller networks keep the same ones of all.

The leading channels of every layer are the right ones where layers follow one another, add up, or
are depthwise. They are not behind a concatenation, whose second part starts later in the larger
network, and in grouped convolutions, whose groups all become narrower.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from tvmkd.base.errors import InputError
from tvmkd.base.text import first_line
from tvmkd.search.supernet.alignment import Pairs

Side = Literal["in", "out"]
Place = tuple[str, Side]
"""The input or the output channels of the module with a path."""


@dataclass(frozen=True)
class Segment:
    """Channels of a place that are those of a group, in order.

    Attributes:
        group: channels with one number have to be kept together.
        start: of the first one in the place.
        repeats: how many neighbours each is there: a dense layer behind a flattened map has one
            for each position.
    """

    group: int
    start: int
    repeats: int = 1


class Channels:
    """The groups of channels of a network, by Torch-Pruning (DepGraph, Fang et al., 2023).

    Args:
        network: on the CPU; stays as it is.
        shape: of one input, batch first.

    Attributes:
        widths: number of channels of each group.
        segments: of each place, in order.

    Raises:
        InputError: Torch-Pruning cannot follow the network.
    """

    def __init__(self, network: nn.Module, shape: Sequence[int]) -> None:
        self.widths: list[int] = []
        self.segments: dict[Place, list[Segment]] = defaultdict(list)
        twin = copy.deepcopy(network).eval()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of parameters that belong to no layer
                self._read(twin, shape)
        except Exception as error:  # it traces the network, and raises what it likes
            text = f"{type(error).__name__}: {first_line(error)}"
            raise InputError(f"Torch-Pruning cannot follow it: {text}") from error
        for found in self.segments.values():
            found.sort(key=lambda segment: segment.start)

    def _read(self, network: nn.Module, shape: Sequence[int]) -> None:
        import torch_pruning

        paths = {module: path for path, module in network.named_modules()}
        graph = torch_pruning.DependencyGraph().build_dependency(network, torch.zeros(tuple(shape)))
        for group in graph.get_all_groups(root_module_types=[_ConvNd, nn.Linear]):
            number, width = len(self.widths), len(group[0][1])
            self.widths.append(width)
            for dependency, indices in group:
                path = paths.get(dependency.target.module)
                first, count = int(indices[0]), len(indices)
                if path is None or count % width or list(indices) != [*range(first, first + count)]:
                    continue  # an operation, or an order that leading channels do not fit
                side: Side = "in" if "in_channels" in dependency.handler.__name__ else "out"
                segment = Segment(number, first, count // width)
                if segment not in self.segments[path, side]:
                    self.segments[path, side].append(segment)


def kept(
    small: nn.Module, large: nn.Module, pairs: Pairs, channels: Channels
) -> dict[Place, Tensor]:
    """For places of the smaller network the channels of the larger one, where not the leading.

    Args:
        small, large: the networks.
        pairs: which module is which.
        channels: of the larger network.

    Returns:
        Indices, int64 ``[channels of the place]``.
    """
    blocks = _blocks(small, large, pairs)
    parts = {
        group: math.lcm(*(blocks[place] for place in places))
        for group, places in _places(channels, blocks).items()
    }
    counts: dict[int, set[int]] = defaultdict(set)
    sizes: dict[Place, int] = {}
    for path, other in pairs.items():
        for side in ("in", "out"):
            size = _size(small.get_submodule(path), side)
            found = channels.segments.get((other, side), [])
            if size is not None and found:
                sizes[path, side] = size
                if len(found) == 1:
                    counts[found[0].group].add(size // found[0].repeats)
    chosen = {}
    for (path, side), size in sizes.items():
        found = channels.segments[pairs[path], side]
        if len(found) > 1 and any(len(counts[segment.group]) != 1 for segment in found):
            continue
        index: list[int] = []
        for segment in found:
            count = size // segment.repeats if len(found) == 1 else min(counts[segment.group])
            roots = _leading(count, channels.widths[segment.group], parts.get(segment.group, 1))
            index += [
                segment.start + root * segment.repeats + offset
                for root in roots
                for offset in range(segment.repeats)
            ]
        if len(index) == size and index != [*range(size)]:
            chosen[path, side] = torch.tensor(index)
    return chosen


def _leading(count: int, width: int, parts: int) -> list[int]:
    """The leading channels of each part of a group."""
    if count % parts or width % parts:
        parts = 1
    own, whole = count // parts, width // parts
    return [part * whole + index for part in range(parts) for index in range(own)]


def _blocks(small: nn.Module, large: nn.Module, pairs: Pairs) -> dict[Place, int]:
    """The grouped convolutions whose groups become narrower, and how many groups they have."""
    found: dict[Place, int] = {}
    for path, other in pairs.items():
        mine, theirs = small.get_submodule(path), large.get_submodule(other)
        if (
            isinstance(mine, _ConvNd)
            and isinstance(theirs, _ConvNd)
            and 1 < mine.groups == theirs.groups < mine.in_channels
        ):
            found[other, "in"] = found[other, "out"] = mine.groups
    return found


def _places(channels: Channels, blocks: Mapping[Place, int]) -> dict[int, list[Place]]:
    """The places of `_blocks` by group."""
    found: dict[int, list[Place]] = defaultdict(list)
    for place in blocks:
        for segment in channels.segments.get(place, []):
            found[segment.group].append(place)
    return found


def _size(module: nn.Module, side: Side) -> int | None:
    """How many channels a place has; None: not known."""
    names = {
        "in": ("in_channels", "in_features"),
        "out": ("out_channels", "out_features", "num_features"),
    }
    return next((getattr(module, name) for name in names[side] if hasattr(module, name)), None)
