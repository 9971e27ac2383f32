"""The part of the largest network's weights that a smaller network uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from tvmkd.distill.memory_format import is_thin
from tvmkd.search.supernet import channels
from tvmkd.search.supernet.alignment import Pairs, own_tensors
from tvmkd.search.supernet.channels import Channels, Side


@dataclass(frozen=True)
class Slice:
    """Which part of which tensor.

    Attributes:
        source: name of the tensor in the largest network.
        ranges: for each dimension the part that is taken.
        picks: channels that are taken instead, by dimension: int64 indices.
        contiguous: the part is copied into contiguous memory: its convolution needs it so, see
            `tvmkd.distill.memory_format`.
    """

    source: str
    ranges: tuple[slice, ...]
    picks: Mapping[int, Tensor]
    contiguous: bool = False

    def of(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The part of a tensor, without a copy where possible; gradients flow back into it."""
        part = tensors[self.source][self.ranges]
        for axis, index in self.picks.items():
            part = part.index_select(axis, index)
        return part.clone(memory_format=torch.contiguous_format) if self.contiguous else part


def slices(
    small: nn.Module, large: nn.Module, pairs: Pairs, groups: Channels | None = None
) -> dict[str, Slice]:
    """For each tensor of the smaller network the part of the larger one's that it is.

    Leading channels and features (slimmable networks, Yu et al., 2019), and the centre of a
    convolution's window (Once-for-All, Cai et al., 2020).

    Args:
        small, large: the networks; indices are on the larger one's device.
        pairs: which module is which, see `tvmkd.search.supernet.alignment.align`.
        groups: of the larger network's channels; None: the leading ones everywhere.
    """
    device = next(large.parameters()).device
    kept = channels.kept(small, large, pairs, groups) if groups is not None else {}
    found = {}
    for path, other in pairs.items():
        mine, theirs = small.get_submodule(path), large.get_submodule(other)
        sources = own_tensors(theirs)
        for name, tensor in own_tensors(mine).items():
            window = isinstance(mine, _ConvNd) and name == "weight"
            ranges, picks = [], {}
            for axis, size in enumerate(tensor.shape):
                whole = sources[name].shape[axis]
                side = _side(mine, name, axis)
                if window and axis >= 2:
                    ranges.append(_centre(size, whole))
                elif side is not None and (path, side) in kept:
                    picks[axis] = kept[path, side].to(device)
                    ranges.append(slice(None))
                else:
                    ranges.append(slice(0, size))
            key = f"{path}.{name}" if path else name
            source = f"{other}.{name}" if other else name
            found[key] = Slice(source, tuple(ranges), picks, window and is_thin(mine))
    return found


def _centre(size: int, whole: int) -> slice:
    start = (whole - size) // 2
    return slice(start, start + size)


def _side(module: nn.Module, name: str, axis: int) -> Side | None:
    """Whose channels an axis of a tensor is: the module's inputs, its outputs, or neither."""
    if isinstance(module, (_NormBase, nn.LayerNorm)):
        return "out"
    if not isinstance(module, (_ConvNd, nn.Linear)) or name not in ("weight", "bias"):
        return None
    if name == "bias" or axis > 1:
        return "out" if name == "bias" else None
    first: Side = "in" if isinstance(module, _ConvTransposeNd) else "out"
    other: Side = "out" if first == "in" else "in"
    grouped = isinstance(module, _ConvNd) and module.groups > 1
    # The second axis of a grouped convolution counts within a group: there the first ones are kept.
    return first if axis == 0 else None if grouped else other
