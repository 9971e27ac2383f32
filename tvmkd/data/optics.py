"""What shutter and lens do to light on its way to a sensor: skew, motion blur, defocus.

Images are linear light, float32 ``[n, C, H, W]``, and each has its own strength: the other
arguments are float32 ``[n]``. Beyond the border the last pixel is repeated.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor


def skew(light: Tensor, shift: Tensor) -> Tensor:
    """Rolling-shutter skew of a steady pan: rows are read one after the other, and each is late.

    Args:
        light: the images.
        shift: how far to the right the last row ends up, pixels; the first stays where it is, and
            the rows between move in proportion (Liang, Chang and Chen, "Analysis and Compensation
            of Rolling Shutter Effect", IEEE Transactions on Image Processing 17(8), 2008).
    """
    # With align_corners the first and the last column are at -1 and 1, the rows likewise.
    slant = shift / max(light.shape[3] - 1, 1)
    zero, one = torch.zeros_like(slant), torch.ones_like(slant)
    theta = torch.stack(
        [torch.stack([one, -slant, -slant], 1), torch.stack([zero, one, zero], 1)], 1
    )
    grid = F.affine_grid(theta, list(light.shape), align_corners=True)
    return F.grid_sample(light, grid, align_corners=True, padding_mode="border")


def motion_kernels(length: Tensor, angle: Tensor) -> Tensor:
    """The path of a point during the exposure, at constant speed: float32 ``[n, K, K]``, sum 1.

    Args:
        length: how far it moves, pixels, not negative.
        angle: the direction, degrees counterclockwise from a row.
    """
    reach = math.ceil(float(length.max()) / 2)
    taps = torch.arange(-reach, reach + 1.0)
    count = 4 * reach + 1
    time = (torch.arange(count) + 0.5) / count - 0.5
    along = length[:, None] * time
    turn = torch.deg2rad(angle)[:, None]
    # Each place on the path is shared by the four pixels around it, as bilinear sampling does.
    across = _tent(taps, along * torch.cos(turn))
    down = _tent(taps, along * -torch.sin(turn))
    return torch.einsum("nty,ntx->nyx", down, across) / count


def disk_kernels(radius: Tensor) -> Tensor:
    """The circle of confusion of a lens out of focus: float32 ``[n, K, K]``, sum 1.

    Args:
        radius: its radius in geometrical optics, pixels, not negative. Pixels on the edge count in
            part; up to half a pixel there is no blur.
    """
    reach = math.ceil(float(radius.max()))
    taps = torch.arange(-reach, reach + 1.0)
    distance = torch.hypot(taps[:, None], taps[None, :])
    weights = (radius[:, None, None] + 0.5 - distance).clamp(0, 1)
    return weights / weights.sum((1, 2), keepdim=True)


def blur(light: Tensor, kernels: Tensor) -> Tensor:
    """Each image with its own kernel, float32 ``[n, K, K]`` (K odd, point-symmetric)."""
    count, channels, height, width = light.shape
    reach = kernels.shape[1] // 2
    padded = F.pad(light, (reach, reach, reach, reach), mode="replicate")
    planes = count * channels
    weights = kernels.repeat_interleave(channels, 0)[:, None]
    row = padded.reshape(1, planes, height + 2 * reach, width + 2 * reach)
    return F.conv2d(row, weights, groups=planes).reshape(light.shape)


def _tent(taps: Tensor, places: Tensor) -> Tensor:
    return (1 - (taps - places[:, :, None]).abs()).clamp(min=0)
