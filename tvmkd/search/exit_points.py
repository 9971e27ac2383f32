"""Where to put early exits, by the share of the blocks before them: for networks of any depth."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError
from tvmkd.base.text import first_line

if TYPE_CHECKING:
    from torch import nn


def is_share(value: Any) -> bool:
    """Whether an exit is given as a share of the blocks, not as a module's path."""
    return isinstance(value, float) and 0 < value < 1


def resolve(
    exits: Sequence[str | float], spec: str, args: Mapping[str, Any], size: int, multiple: int
) -> list[str]:
    """The paths of the modules that have an exit.

    Args:
        exits: paths, which stay, and shares above 0 and below 1: 0.5 is after half of the blocks.
        spec: a model of tvmkd, torchvision or timm.
        args: of the model.
        size: of the images.
        multiple: the target's channel multiple.

    Returns:
        in the order in which they run; one where two shares fall on the same block.

    Raises:
        InputError: the network has no two blocks one after another that give feature maps.
    """
    shares = [float(each) for each in exits if is_share(each)]
    found = [str(each) for each in exits if not is_share(each)]
    if not shares:
        return found
    names = _blocks(json.dumps([spec, args], sort_keys=True, default=str), size, multiple)
    if len(names) < 2:
        raise InputError(
            f"exits: {spec} has {len(names)} blocks that give feature maps, and an exit goes "
            "between two"
        )
    # After the last block an exit saves nothing.
    places = {min(max(round(share * len(names)), 1), len(names) - 1) - 1 for share in shares}
    chosen = dict.fromkeys([*found, *(names[place] for place in sorted(places))])
    if set(chosen) <= set(names):
        return sorted(chosen, key=names.index)
    return list(chosen)


@lru_cache(maxsize=1024)
def _blocks(plain: str, size: int, multiple: int) -> tuple[str, ...]:
    """The blocks that give a feature map ``[N, C, H, W]``, in the order in which they run."""
    import torch

    from tvmkd import models

    spec, args = json.loads(plain)
    known = models.arguments(spec, classes=10, channels=3, size=size, multiple=multiple)
    ran: list[str] = []
    with torch.device("meta"), torch.no_grad():
        network = models.build(spec, **{**known, **args}).eval()
        for path in blocks(network):
            keep = functools.partial(_keep, path, ran)
            network.get_submodule(path).register_forward_hook(keep)
        try:
            network(torch.zeros(1, 3, size, size))
        except Exception as error:  # it says so again, with more, where it is really built
            raise InputError(f'exits: model "{spec}" does not run: {first_line(error)}') from error
    return tuple(path for path in ran if ran.count(path) == 1)


def _keep(path: str, ran: list[str], _module: nn.Module, _inputs: Any, output: Any) -> None:
    if getattr(output, "ndim", 0) == 4:
        ran.append(path)


def blocks(network: nn.Module) -> Iterator[str]:
    """The paths of the blocks that a network is a sequence of.

    Sequences within sequences are taken apart, down to those of single layers. A layer that stands
    alone is no block.
    """
    from torch import nn

    def visit(path: str, module: nn.Module) -> Iterator[str]:
        parts = list(module.named_children())
        if isinstance(module, nn.Sequential) and any(list(part.children()) for _, part in parts):
            for name, part in parts:
                yield from visit(f"{path}.{name}", part)
        elif parts:
            yield path

    for name, child in network.named_children():
        if isinstance(child, nn.Sequential):
            yield from visit(name, child)
