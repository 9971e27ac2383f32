"""Random changes to images that leave the class alone, a whole batch at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor

from tvmkd.data.camera import Camera, Normalised
from tvmkd.data.splits import Augment

if TYPE_CHECKING:
    from tvmkd.config import Data


@dataclass(frozen=True)
class Affine:
    """A small turn, change of size, slant and shift for each image; and mirrored half of the time.

    Args:
        turn: largest angle, degrees.
        scale: largest relative change of size.
        shear: largest slant (tangent).
        shift: largest shift, as a fraction of half the image.
        flip: whether an image may be mirrored left to right.
    """

    turn: float = 15.0
    scale: float = 0.15
    shear: float = 0.2
    shift: float = 0.15
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Float images ``[n, C, H, W]`` to changed ones; all randomness is from ``generator``."""
        count = len(images)
        # One draw of fixed size, so that switching one change off leaves the others as they are.
        draw = torch.rand(count, 6, generator=generator)
        wobble = draw[:, :5] * 2 - 1
        angle = wobble[:, 0] * math.radians(self.turn)
        size = 1 + wobble[:, 1] * self.scale
        cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
        mirror = torch.where(draw[:, 5] < 0.5, -1.0, 1.0) if self.flip else torch.ones(count)
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
    """Changes one after the other.

    Args:
        steps: the changes, the first one first.
    """

    steps: tuple[Augment, ...]

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Float images ``[n, C, H, W]`` to changed ones; all randomness is from ``generator``."""
        for step in self.steps:
            images = step(images, generator)
        return images


def named(cfg: Data, mean: Sequence[float], std: Sequence[float]) -> Augment | None:
    """The augmentation that ``[data] augment`` names, for normalised images.

    Args:
        cfg: ``augment``, and the camera's ranges.
        mean: what is taken off each channel, on the scale of 0 to 1.
        std: what each channel is divided by, on the same scale.
    """
    names = cfg.augment.split("+")
    steps: list[Augment] = []
    # Whatever the name puts first: the scene moves, and then the camera takes it.
    if "affine" in names or "flip" in names:
        steps.append(Affine(flip="flip" in names))
    if "camera" in names:
        camera = Camera(**cfg.camera.model_dump())
        steps.append(Normalised(camera, tuple(mean), tuple(std)))
    if len(steps) > 1:
        return Chain(tuple(steps))
    return steps[0] if steps else None
