"""Which module of the largest network each module of a smaller one is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from tvmkd.base.errors import InputError

Pairs = dict[str, str]
"""From the path of a module of the smaller network to that of the larger one."""
_NEVER = -math.inf


def align(small: nn.Module, large: nn.Module) -> Pairs:
    """Pairs the modules that have weights or statistics of their own.

    Modules are paired by name. Where blocks are numbered (``Sequential``, ``ModuleList``) and the
    smaller network has fewer of them, each takes a block that fits, in order: its class, its kinds
    of convolutions and its strides are the same, and no weight is larger. Those with most weights
    of the same shape are chosen, and of equally good ones the first, so that of each stage the
    leading blocks remain (as in Once-for-All, Cai et al., 2020).

    Args:
        small, large: built by the same callable.

    Raises:
        InputError: the smaller network is no part of the larger one; says at which module.
    """
    return dict(_pairs(small, large, "", ""))


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters, and the statistics of a normalisation, by name.

    Other buffers, such as tables of positions, are what the module's constructor makes them.
    """
    found: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
    if isinstance(module, _NormBase):
        found.update(module.named_buffers(recurse=False))
    return found


def _pairs(small: nn.Module, large: nn.Module, path: str, other: str) -> Iterator[tuple[str, str]]:
    reason = _misfit(small, large)
    if reason is not None:
        raise InputError(f"{path or type(small).__name__}: {reason}")
    if own_tensors(small):
        yield path, other
    mine, theirs = _children(small), _children(large)
    if len(mine) < len(theirs) and _numbered(mine) and _numbered(theirs):
        names = _in_order(list(mine.values()), list(theirs.values()), path)
        chosen = dict(zip(mine, (list(theirs)[index] for index in names), strict=True))
    else:
        chosen = {name: name for name in mine}
    for name, module in mine.items():
        inside = f"{path}.{name}" if path else name
        if chosen[name] not in theirs:
            raise InputError(f"{inside}: the largest network has no such module")
        place = f"{other}.{chosen[name]}" if other else chosen[name]
        yield from _pairs(module, theirs[chosen[name]], inside, place)


def _children(module: nn.Module) -> dict[str, nn.Module]:
    """The children that hold a tensor, or whose children do."""
    return {
        name: child
        for name, child in module.named_children()
        if any(own_tensors(part) for part in child.modules())
    }


def _numbered(children: dict[str, nn.Module]) -> bool:
    return all(name.isdigit() for name in children)


def _in_order(small: Sequence[nn.Module], large: Sequence[nn.Module], path: str) -> list[int]:
    """For each of a few blocks one of many, in order: those alike; of equally good ones the first.

    Dynamic programming over the blocks, from the last ones on.

    Raises:
        InputError: there are too few that fit.
    """
    alike = [[_likeness(mine, theirs) for theirs in large] for mine in small]
    best = [[0.0] * (len(large) + 1) for _ in range(len(small) + 1)]
    take = [[False] * len(large) for _ in small]
    for row in reversed(range(len(small))):
        best[row][len(large)] = _NEVER
        for column in reversed(range(len(large))):
            taken = alike[row][column] + best[row + 1][column + 1]
            take[row][column] = taken > _NEVER and taken >= best[row][column + 1]
            best[row][column] = max(taken, best[row][column + 1])
    if best[0][0] == _NEVER:
        raise InputError(
            f"{path or 'the network'}: its {len(small)} blocks are none of the largest network's "
            f"{len(large)}, in order"
        )
    found: list[int] = []
    for column in range(len(large)):
        if len(found) < len(small) and take[len(found)][column]:
            found.append(column)
    return found


def _likeness(small: nn.Module, large: nn.Module) -> float:
    """How many tensors of two blocks have the same shape; `_NEVER` where one does not fit."""
    try:
        pairs = align(small, large)
    except InputError:
        return _NEVER
    return sum(
        tensor.shape == own_tensors(large.get_submodule(other))[name].shape
        for path, other in pairs.items()
        for name, tensor in own_tensors(small.get_submodule(path)).items()
    )


def _misfit(small: nn.Module, large: nn.Module) -> str | None:
    """Why a module cannot share the other's weights; None if it can."""
    if type(small) is not type(large):
        return f"is a {type(small).__name__}, the largest network has a {type(large).__name__}"
    if isinstance(small, _ConvNd) and isinstance(large, _ConvNd):
        if _kind(small) != _kind(large):
            return f"is a {_kind(small)} convolution, in the largest network a {_kind(large)} one"
        for name in ("stride", "dilation", "transposed"):
            if getattr(small, name) != getattr(large, name):
                return f"has another {name} than in the largest network"
    theirs = own_tensors(large)
    for name, tensor in own_tensors(small).items():
        if name not in theirs:
            return f"has {name}, which the largest network has not"
        mine, other = tuple(tensor.shape), tuple(theirs[name].shape)
        if len(mine) != len(other) or any(a > b for a, b in zip(mine, other, strict=False)):
            return f"{name} is {list(mine)}, more than the largest network's {list(other)}"
    return None


def _kind(conv: _ConvNd) -> str:
    if conv.groups == 1:
        return "dense"
    return "depthwise" if conv.groups == conv.in_channels else "grouped"
