"""Random augmentations of image batches that preserve the class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor

from tvmkd.data.camera import Camera, Normalised
from tvmkd.data.splits import Augment

if TYPE_CHECKING:
    from tvmkd.config import Data


@dataclass(frozen=True)
class Affine:
    """Small random rotation, scaling, shear and shift of each image; mirrors half of them.

    Args:
        turn: largest rotation, degrees.
        scale: largest relative change of size.
        shear: largest shear (tangent).
        shift: largest shift, relative to half the image.
        flip: whether an image may be mirrored left to right.
    """

    turn: float = 15.0
    scale: float = 0.15
    shear: float = 0.2
    shift: float = 0.15
    flip: bool = False
    heavy: ClassVar[bool] = False
    """True if a batch is slow enough that a thread pays."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Changes float images ``[n, C, H, W]``; all randomness comes from ``generator``."""
        # One draw of fixed size, so that disabling one change does not alter the others.
        return self._changed(images, torch.rand(len(images), 6, generator=generator))

    def each(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """As a call for each image alone with its own generator, but faster."""
        draws = [torch.rand(1, 6, generator=generator) for generator in generators]
        return self._changed(images, torch.cat(draws))

    def _changed(self, images: Tensor, draw: Tensor) -> Tensor:
        wobble = draw[:, :5] * 2 - 1
        angle = wobble[:, 0] * math.radians(self.turn)
        size = 1 + wobble[:, 1] * self.scale
        cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
        mirror = torch.where(draw[:, 5] < 0.5, -1.0, 1.0) if self.flip else torch.ones(len(draw))
        matrix = torch.stack(
            [
                torch.stack([cos * mirror, wobble[:, 2] * self.shear - sin], 1),
                torch.stack([sin * mirror, cos], 1),
            ],
            1,
        )
        shift = wobble[:, 3:5] * self.shift
        theta = torch.cat([matrix, shift.unsqueeze(2)], 2).to(images.device)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


@dataclass(frozen=True)
class Chain:
    """Applies changes one after the other.

    Args:
        steps: the changes in order.
    """

    steps: tuple[Augment, ...]

    @property
    def heavy(self) -> bool:
        """True if a batch is slow enough that a thread pays."""
        return any(getattr(step, "heavy", True) for step in self.steps)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Changes float images ``[n, C, H, W]``; all randomness comes from ``generator``."""
        for step in self.steps:
            images = step(images, generator)
        return images

    def each(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """As a call for each image alone with its own generator."""
        for step in self.steps:
            images = each(step, images, generators)
        return images


def each(change: Augment, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Changes each image with its own generator, so that its neighbours do not matter.

    Args:
        change: one with a method ``each`` changes several images at once.
        images: ``[n, C, H, W]``.
        generators: one for each image.
    """
    if hasattr(change, "each"):
        found: Tensor = change.each(images, generators)
        return found
    pairs = zip(torch.split(images, 1), generators, strict=True)
    parts = [change(image, generator) for image, generator in pairs]
    return torch.cat(parts) if parts else images.clone()


def named(cfg: Data, mean: Sequence[float], std: Sequence[float]) -> Augment | None:
    """The augmentation selected by ``[data] augment``, for normalised images.

    Args:
        cfg: ``augment``, and the camera's ranges.
        mean: mean of each channel, on the scale of 0 to 1.
        std: standard deviation of each channel, on the same scale.
    """
    names = cfg.augment.split("+")
    steps: list[Augment] = []
    # Geometric changes come before the camera, whatever the order of the names.
    if "affine" in names or "flip" in names:
        steps.append(Affine(flip="flip" in names))
    if "camera" in names:
        camera = Camera(**cfg.camera.model_dump())
        steps.append(Normalised(camera, tuple(mean), tuple(std)))
    if len(steps) > 1:
        return Chain(tuple(steps))
    return steps[0] if steps else None
