"""Exports one network in a process of its own: ``_export.py FILE SPEC fixed|free SHAPE...``."""

from __future__ import annotations

import sys
from pathlib import Path

import _common  # noqa: F401 - makes tvmkd importable
import torch
from torch import nn

from tvmkd.export import export
from tvmkd.models import build
from tvmkd.suites.settling import settled


def network(spec: str, shape: list[int]) -> nn.Module:
    """The network of ``spec``, as for `build`, with statistics as after a training.

    The export fuses branches that are for the training only.
    """
    return settled(build(spec), shape)


def main() -> None:
    out, spec, free, *sizes = sys.argv[1:]
    shape = [int(size) for size in sizes]
    torch.manual_seed(0)
    export(network(spec, shape), Path(out), shape, dynamic_batch=free == "free")


if __name__ == "__main__":
    main()
