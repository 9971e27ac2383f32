"""The loss of a supernet: of its largest network, its smallest and a few between them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor, nn

from tvmkd.base.errors import TvmkdError
from tvmkd.distill.task import Batch, Loss
from tvmkd.search.supernet.networks import Networks, Part

TRIES = 20  # structures drawn for one that can be built


class Sandwich(nn.Module):
    """The sandwich rule with in-place distillation (Yu & Huang, 2019; Yu et al., "BigNAS", 2020).

    In each step the largest network learns from the labels, and from the teacher where there is
    one; the smallest network and a few drawn at random learn what the largest answers, without
    changing it. A task that does not say how to learn an answer (`Task.imitation`) teaches all of
    them the labels.

    Args:
        networks: of the space; the largest has just been called where this is.
        largest: loss of the largest network.
        samples: how many networks are drawn in each step.
        seed: of the draws; which are drawn depends on it and on the progress of the training only,
            so that a training which resumes draws the same, in each process.
    """

    def __init__(self, networks: Networks, largest: Loss, samples: int, seed: int) -> None:
        super().__init__()
        self.largest = largest
        self._networks = (networks,)  # in a tuple: their weights are not this module's
        self._samples, self._seed = samples, seed

    def forward(self, batch: Batch, output: Any) -> Tensor:
        """The mean loss of a step's networks, from the largest one's output for the batch."""
        total = self.largest(batch, output)
        parts = [self._smallest(), *self.draw(batch.progress)]
        for part in parts:
            total = total + self._loss(part, batch, output)
        return total / (1 + len(parts))

    def draw(self, progress: float) -> list[Part]:
        """The networks that a step draws; those that cannot be built are drawn again.

        Where none of many can be built, the smallest one stands for them.
        """
        (networks,) = self._networks
        seeds = np.random.SeedSequence([self._seed, int(progress * 2**52)])
        rng = np.random.default_rng(seeds)
        found: list[Part] = []
        for _ in range(self._samples):
            for _ in range(TRIES):
                with suppress(TvmkdError):
                    found.append(networks.part(networks.blueprints.space.draw(rng)))
                    break
            else:
                found.append(self._smallest())
        return found

    def close(self) -> None:
        """Takes the hooks of the largest network's loss off."""
        if hasattr(self.largest, "close"):
            self.largest.close()

    def _smallest(self) -> Part:
        (networks,) = self._networks
        return networks.part(networks.corners.smallest)

    def _loss(self, part: Part, batch: Batch, answer: Any) -> Tensor:
        (networks,) = self._networks
        output = networks.forward(part, resized(batch.images, part.task.input_shape))
        imitation = part.task.imitation()
        if imitation is None:
            return part.task.loss(part.network)(batch, output)
        return imitation(output, answer)


def resized(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Images of the size that a network wants: ``[N, C, H, W]``, bilinear, smoothed if smaller."""
    size = tuple(shape[2:])
    if images.shape[2:] == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
