"""Effects of a sensor and its processor: exposure, white balance, noise, 8 bit, JPEG.

Light is linear, float32 ``[n, C, H, W]``, 1 at white. Pixels are encoded with the sRGB curve (IEC
61966-2-1), as in picture files. The other tensors are float32 ``[n]``, one value per image, unless
stated otherwise.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor


def to_linear(encoded: Tensor) -> Tensor:
    """sRGB values of 0 to 1 to linear light of 0 to 1 (IEC 61966-2-1)."""
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def to_srgb(light: Tensor) -> Tensor:
    """Linear light of 0 to 1 to sRGB values of 0 to 1 (IEC 61966-2-1)."""
    curve = 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, light * 12.92, curve)


def expose(light: Tensor, stops: Tensor) -> Tensor:
    """Multiplies light by ``2 ** stops``, clipped at white, where pixels are saturated."""
    return (light * _each(torch.exp2(stops))).clamp(max=1)


def white_balance(light: Tensor, gains: Tensor) -> Tensor:
    """Multiplies each channel by its gain, float32 ``[n, C]``; not clipped."""
    return light * gains[:, :, None, None]


def shot_noise(light: Tensor, full_well: Tensor, generator: torch.Generator) -> Tensor:
    """Shot noise: the electrons of each pixel are drawn from a Poisson distribution.

    In units of white the variance is ``light / full_well`` (EMVA Standard 1288, release 4.0).

    Args:
        light: the images; negative values count as black.
        full_well: electrons at white.
        generator: source of the randomness.
    """
    electrons = light.clamp(min=0) * _each(full_well)
    return torch.poisson(electrons, generator=generator) / _each(full_well)


def read_noise(
    light: Tensor, electrons: Tensor, full_well: Tensor, generator: torch.Generator
) -> Tensor:
    """Gaussian noise of the amplifier, the same at every level (EMVA Standard 1288, release 4.0).

    Args:
        light: the images.
        electrons: standard deviation, electrons rms.
        full_well: electrons at white.
        generator: source of the randomness.
    """
    return light + torch.randn(light.shape, generator=generator) * _each(electrons / full_well)


def quantise(encoded: Tensor) -> Tensor:
    """Clips values to 0 to 1 and converts them to 8 bit: uint8."""
    return (encoded.clamp(0, 1) * 255).round().to(torch.uint8)


def jpeg(pixels: Tensor, quality: Tensor) -> Tensor:
    """Compresses and decompresses pixels, uint8 ``[n, 1 or 3, H, W]``, as one JPEG file per image.

    Args:
        pixels: the images.
        quality: libjpeg's quality, 1 to 100; rounded. Colour is stored at half the resolution.
    """
    from PIL import Image

    found = []
    for picture, level in zip(pixels, quality.round().tolist(), strict=True):
        values = picture.squeeze(0) if len(picture) == 1 else picture.permute(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(values.numpy()).save(file, "JPEG", quality=int(level))
        read = torch.from_numpy(np.array(Image.open(file)))
        found.append(read[None] if read.ndim == 2 else read.permute(2, 0, 1))
    return torch.stack(found)


def _each(strength: Tensor) -> Tensor:
    return strength[:, None, None, None]
