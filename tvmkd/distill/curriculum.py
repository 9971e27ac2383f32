"""Which images a student sees when: the easy ones first, by how sure the teacher is of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 3  # of the pacing function "step"

PACING: dict[str, Callable[[float], float]] = {
    "linear": lambda done: done,
    "root": lambda done: done**0.5,
    "step": lambda done: min(1.0, int(done * STEPS) / (STEPS - 1)),
}
"""Shapes of the way from the first share to the whole, 0 to 1 each (Hacohen and Weinshall, 2019;
Platanios et al., 2019, for the root)."""


@dataclass(frozen=True)
class Curriculum:
    """An order of the training images, and how fast it is gone through.

    Args:
        confidence: float32 ``[N]``, the teacher's probability of each image's own class.
        pacing: a name in :data:`PACING`.
        start: share of the images, the easiest, that the first epoch draws from.
        full_at: progress, 0 to 1, from which on all of them are drawn from.
    """

    confidence: Tensor
    pacing: str = "linear"
    start: float = 0.3
    full_at: float = 0.7

    def share(self, progress: float) -> float:
        """The share of the images at a progress of the training, 0 to 1."""
        done = min(1.0, progress / self.full_at) if self.full_at > 0 else 1.0
        return self.start + (1 - self.start) * PACING[self.pacing](done)

    def order(self, progress: float, generator: torch.Generator) -> Tensor:
        """An epoch's images: int64 ``[N]``, each of the easiest equally often, but for a rest.

        As many as there are in all, so that an epoch is as long as ever.
        """
        count = len(self.confidence)
        easy = torch.argsort(self.confidence, descending=True, stable=True)
        pool = easy[: max(1, round(self.share(progress) * count))]
        rounds = -(-count // len(pool))
        drawn = [pool[torch.randperm(len(pool), generator=generator)] for _ in range(rounds)]
        return torch.cat(drawn)[:count]
