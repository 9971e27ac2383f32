"""Effects of shutter and lens: rolling-shutter skew, motion blur, defocus.

Images are linear light, float32 ``[n, C, H, W]``. The other arguments are float32 ``[n]``, one
value per image. Borders are padded by repeating the last pixel.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor


def skew(light: Tensor, shift: Tensor) -> Tensor:
    """Rolling-shutter skew of a pan at constant speed: each row is read later than the one above.

    Args:
        light: the images.
        shift: shift of the last row to the right, pixels; the first row does not move, and the rows
            between move in proportion (Liang, Chang and Chen, "Analysis and Compensation of Rolling
            Shutter Effect", IEEE Transactions on Image Processing 17(8), 2008).
    """
    # With align_corners the first and the last column are at -1 and 1, and so are the rows.
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
        length: length of the path, pixels, not negative.
        angle: direction, degrees counterclockwise from a row.
    """
    reach = math.ceil(float(length.max()) / 2)
    taps = torch.arange(-reach, reach + 1.0)
    count = 4 * reach + 1
    time = (torch.arange(count) + 0.5) / count - 0.5
    along = length[:, None] * time
    turn = torch.deg2rad(angle)[:, None]
    # Each point of the path is distributed over the four nearest pixels (bilinear).
    across = _tent(taps, along * torch.cos(turn))
    down = _tent(taps, along * -torch.sin(turn))
    return torch.einsum("nty,ntx->nyx", down, across) / count


def disk_kernels(radius: Tensor) -> Tensor:
    """The circle of confusion of a lens out of focus: float32 ``[n, K, K]``, sum 1.

    Args:
        radius: radius in geometrical optics, pixels, not negative. Pixels on the edge have partial
            weight; up to half a pixel there is no blur.
    """
    reach = math.ceil(float(radius.max()))
    taps = torch.arange(-reach, reach + 1.0)
    distance = torch.hypot(taps[:, None], taps[None, :])
    weights = (radius[:, None, None] + 0.5 - distance).clamp(0, 1)
    return weights / weights.sum((1, 2), keepdim=True)


def blur(light: Tensor, kernels: Tensor) -> Tensor:
    """Blurs each image with its own kernel, float32 ``[n, K, K]`` (K odd, point-symmetric)."""
    count, channels, height, width = light.shape
    reach = kernels.shape[1] // 2
    padded = F.pad(light, (reach, reach, reach, reach), mode="replicate")
    planes = count * channels
    weights = kernels.repeat_interleave(channels, 0)[:, None]
    row = padded.reshape(1, planes, height + 2 * reach, width + 2 * reach)
    return F.conv2d(row, weights, groups=planes).reshape(light.shape)


def _tent(taps: Tensor, places: Tensor) -> Tensor:
    return (1 - (taps - places[:, :, None]).abs()).clamp(min=0)
