"""Networks for tests of ``module:callable``."""

from __future__ import annotations

MODULE = """
from torch import nn

def net(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=4, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 8, 3, stride=4, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
"""
