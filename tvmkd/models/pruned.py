"""A pruned network, rebuilt from the record of the channels and blocks that were removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from tvmkd.base.errors import InputError

History = Sequence[Sequence[Any]]
"""``(module's path, whether output channels, indices)`` of each group that went, in order."""


def pruned(
    base: str,
    args: Mapping[str, Any],
    shape: Sequence[int],
    history: History,
    skipped: Sequence[str] = (),
    fused: bool = False,
) -> nn.Module:
    """Builds ``base`` and removes what is recorded; weights are loaded from a checkpoint.

    Args:
        base: the base network: a registered name or ``torchvision:NAME``.
        args: arguments of the base network.
        shape: shape of one input, batch first.
        history: the record that `tvmkd.prune.channels.shrink` returns.
        fused: whether its training's branches are fused first, as in `tvmkd.models.reparameterize`.
        skipped: paths of residual blocks, which give their input then; they go before channels do.

    Raises:
        InputError: the base is user code, or the history does not fit this network.
    """
    import torch_pruning

    from tvmkd import models
    from tvmkd.models import reparameterize

    if not models.is_builtin(base):
        # The base may come from a checkpoint, and a file must not select the code that runs.
        raise InputError(f'pruning: "{base}" is not a model of tvmkd or torchvision')
    network = models.build(base, **args)
    if fused:
        network = reparameterize.fused(network, shape, base)
    mode = network.training
    network.eval()  # batch normalisation cannot train on a map of one pixel
    for block in skipped:
        if not isinstance(block, str) or block not in dict(network.named_modules()) or not block:
            raise InputError(f"pruning: {base} has no block {block!r}: a damaged checkpoint")
        network.set_submodule(block, nn.Identity(), strict=True)
    graph = torch_pruning.DependencyGraph().build_dependency(
        network, torch.zeros(tuple(shape)), verbose=False
    )
    known = dict(network.named_modules())
    try:
        for path, _, indices in history:
            if path not in known or not all(isinstance(index, int) for index in indices):
                raise ValueError(f"{path} is no module of it")
        graph.load_pruning_history([(path, bool(out), list(found)) for path, out, found in history])
    except Exception as error:  # Torch-Pruning raises errors of many types if indices are invalid
        raise InputError(
            f"pruning: its history is damaged, or of another network than {base}: {error}"
        ) from error
    return network.train(mode)
