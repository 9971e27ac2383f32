"""Exports one network in a process of its own: ``_export.py FILE SPEC fixed|free SHAPE...``."""

from __future__ import annotations

import sys
from pathlib import Path

import _common  # noqa: F401 - makes tvmkd importable
import torch
from torch import nn

from tvmkd.export import export
from tvmkd.models import build

BATCH = 4


def network(spec: str, shape: list[int]) -> nn.Module:
    """The network of ``spec`` (``timm:NAME``, or as for `build`), with its branches merged."""
    source, _, name = spec.partition(":")
    if source != "timm":
        return settled(build(spec), shape)
    try:
        import timm
        from timm.utils import reparameterize_model
    except ImportError:
        sys.exit(f"{spec}: timm is not installed: pip install timm")
    made: nn.Module = timm.create_model(name, pretrained=False)
    return reparameterize_model(settled(made, shape))


def settled(network: nn.Module, shape: list[int]) -> nn.Module:
    """The network with weights as if it had been trained: its outputs depend on its inputs.

    Fresh batch normalisations are the identity, which an optimiser could fold away, and in deep
    networks the values vanish. They get the statistics of a batch of noise, a little displaced.
    """
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            # A transformer's head starts as zeros, and every output would be right.
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(BATCH, *shape[1:]))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            deviation = module.running_var.sqrt()
            module.running_mean += deviation * torch.empty_like(deviation).uniform_(-0.1, 0.1)
            module.running_var *= torch.empty_like(deviation).uniform_(0.8, 1.25)
    return network.eval()


def main() -> None:
    out, spec, free, *sizes = sys.argv[1:]
    shape = [int(size) for size in sizes]
    torch.manual_seed(0)
    export(network(spec, shape), Path(out), shape, dynamic_batch=free == "free")


if __name__ == "__main__":
    main()
