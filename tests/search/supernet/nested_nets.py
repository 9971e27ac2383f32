"""Networks for tests of supernets; each takes ``[N, 3, 16, 16]``."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Grouped(nn.Module):
    """A convolution of four groups that become narrower, with a shortcut, then a flattened map."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.grouped = nn.Conv2d(width, width, 3, 1, 1, groups=4)
        self.last = nn.Conv2d(width, 2 * width, 1)
        self.head = nn.Linear(2 * width * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.last(x + torch.relu(self.grouped(x))))
        logits: Tensor = self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))
        return logits


class Joined(nn.Module):
    """Two branches that are concatenated, as in Inception and GhostNet."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 4, 1)
        self.one = nn.Conv2d(width, width, 1)
        self.other = nn.Conv2d(width, 2 * width, 3, 1, 1)
        self.norm = nn.BatchNorm2d(3 * width)
        self.last = nn.Conv2d(3 * width, width, 1)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.norm(torch.cat([self.one(x), self.other(x)], 1)))
        logits: Tensor = self.head(self.last(x).mean((2, 3)))
        return logits


class Windows(nn.Module):
    """A kernel of an odd size."""

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel, padding=kernel // 2)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.conv(x)).mean((2, 3)))
        return logits


class Table(nn.Module):
    """A buffer that only its constructor knows, and two layers with the same weights."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.register_buffer("order", torch.arange(width).flip(0))
        self.first = nn.Linear(768, width)
        self.again = nn.Linear(width, width)
        self.tied = nn.Linear(width, width)
        self.tied.weight = self.again.weight
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tied(self.again(self.first(x.flatten(1))[:, self.order]))
        logits: Tensor = self.head(x)
        return logits
