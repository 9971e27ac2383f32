"""A simulated camera: an augmentation, and corrupted test sets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.text import listing, suggest
from tvmkd.data import optics, sensor

Range = tuple[float, float]
"""The lowest and the highest value; each image draws its own uniformly."""

# In the order of the light's path through a camera.
EFFECTS = (
    "skew",
    "motion",
    "defocus",
    "exposure",
    "white_balance",
    "shot_noise",
    "read_noise",
    "jpeg",
)
SEVERITIES = (1, 2, 3, 4, 5)

_DRAWS = (
    "skew",
    "motion",
    "angle",
    "defocus",
    "exposure",
    "red",
    "blue",
    "full_well",
    "read_noise",
    "jpeg",
)
# For severities 1 to 5. Lengths are fractions of the shorter side, so that a severity looks the
# same at every size. All effects are combined, so each is weaker than the same effect in
# ImageNet-C.
_PRESETS = {
    "skew": (0.02, 0.04, 0.06, 0.09, 0.12),
    "motion": (0.02, 0.04, 0.06, 0.09, 0.12),
    "defocus": (0.005, 0.012, 0.02, 0.03, 0.04),
    "exposure": (0.25, 0.5, 0.75, 1.0, 1.5),
    "white_balance": (0.03, 0.06, 0.1, 0.15, 0.2),
    "full_well": (4000.0, 2000.0, 1000.0, 500.0, 250.0),
    "read_noise": (2.0, 3.0, 4.0, 6.0, 8.0),
    "jpeg": (90.0, 75.0, 60.0, 45.0, 30.0),
}
_CHUNK = 64  # images that are corrupted at a time, since noise needs much memory


@dataclass(frozen=True)
class Camera:
    """A simulated camera: the enabled effects, and the range of each.

    Skew, blur, exposure, white balance and noise are applied to linear light (with the sRGB curve).
    The result is clipped, quantised to 8 bit, and compressed. Without any effect images are only
    quantised.

    Args:
        effects: some of `EFFECTS`.
        skew: rolling-shutter skew: shift of the last row to the right, pixels.
        motion: length of the motion blur, pixels.
        angle: direction of the motion blur, degrees counterclockwise from a row.
        defocus: radius of the blur disk, pixels.
        exposure: exposure error, stops.
        white_balance: gain of red and of blue, drawn independently; green has 1. Not applied to
            gray images.
        full_well: electrons at white, above 0: fewer electrons mean more shot noise, and more read
            noise relative to white. Drawn uniformly on a logarithmic scale.
        read_noise: electrons rms.
        jpeg: quality, 1 to 100.

    Raises:
        UsageError: an unknown effect.
    """

    effects: tuple[str, ...] = EFFECTS
    skew: Range = (-2.0, 2.0)
    motion: Range = (0.0, 3.0)
    angle: Range = (0.0, 180.0)
    defocus: Range = (0.0, 1.0)
    exposure: Range = (-0.7, 0.7)
    white_balance: Range = (0.9, 1.1)
    full_well: Range = (300.0, 5000.0)
    read_noise: Range = (1.0, 5.0)
    jpeg: Range = (60.0, 95.0)

    def __post_init__(self) -> None:
        for name in self.effects:
            if name not in EFFECTS:
                hint = suggest(name, EFFECTS) or f"; known: {listing(EFFECTS)}"
                raise UsageError(f'a camera has no effect "{name}"{hint}')

    @classmethod
    def severity(cls, number: int, side: int = 32) -> Camera:
        """All effects at one of five severities, as in Hendrycks and Dietterich.

        Blur, noise and compression have a fixed strength per severity. Skew, exposure and white
        balance vary around zero, in a range that grows with the severity ("Benchmarking Neural
        Network Robustness to Common Corruptions and Perturbations", ICLR 2019).

        Args:
            number: 1 (hardly visible) to 5.
            side: the shorter side of the images, pixels.

        Raises:
            UsageError: another severity.
        """
        if number not in SEVERITIES:
            raise UsageError(f"severity {number}: give one from 1 to 5")
        level = {name: values[number - 1] for name, values in _PRESETS.items()}
        skew, motion, radius = (level[name] * side for name in ("skew", "motion", "defocus"))
        return cls(
            skew=(-skew, skew),
            motion=(motion, motion),
            defocus=(radius, radius),
            exposure=(-level["exposure"], level["exposure"]),
            white_balance=(1 - level["white_balance"], 1 + level["white_balance"]),
            full_well=(level["full_well"], level["full_well"]),
            read_noise=(level["read_noise"], level["read_noise"]),
            jpeg=(level["jpeg"], level["jpeg"]),
        )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Applies the effects to images.

        Args:
            images: sRGB values of 0 to 1 (others are clipped), any float type, on the CPU,
                ``[n, 1 or 3, H, W]``.
            generator: source of all randomness.

        Returns:
            The same shape and type, in steps of 1/255.

        Raises:
            InputError: the images have another shape.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise InputError(
                f"images of shape {list(images.shape)}: a camera takes [n, C, H, W] with 1 channel "
                "or 3"
            )
        # Draws of fixed size, so that disabling one effect does not alter the others. The number of
        # draws for noise depends on the light, so each kind of noise has its own generator.
        table = torch.rand(len(images), len(_DRAWS), generator=generator)
        seeds = torch.randint(1 << 62, (2,), generator=generator).tolist()
        if len(images) == 0:
            return images.clone()
        draws = dict(zip(_DRAWS, table.unbind(1), strict=True))
        shot, read = (torch.Generator().manual_seed(seed) for seed in seeds)
        light = sensor.to_linear(images.float().clamp(0, 1))
        if "skew" in self.effects:
            light = optics.skew(light, _within(self.skew, draws["skew"]))
        if "motion" in self.effects:
            angle = _within(self.angle, draws["angle"])
            length = _within(self.motion, draws["motion"])
            light = optics.blur(light, optics.motion_kernels(length, angle))
        if "defocus" in self.effects:
            radius = _within(self.defocus, draws["defocus"])
            light = optics.blur(light, optics.disk_kernels(radius))
        if "exposure" in self.effects:
            light = sensor.expose(light, _within(self.exposure, draws["exposure"]))
        if "white_balance" in self.effects and images.shape[1] == 3:
            red, blue = (_within(self.white_balance, draws[name]) for name in ("red", "blue"))
            light = sensor.white_balance(light, torch.stack([red, torch.ones_like(red), blue], 1))
        low, high = torch.tensor(self.full_well).log().tolist()
        full_well = _within((low, high), draws["full_well"]).exp()
        if "shot_noise" in self.effects:
            light = sensor.shot_noise(light, full_well, shot)
        if "read_noise" in self.effects:
            electrons = _within(self.read_noise, draws["read_noise"])
            light = sensor.read_noise(light, electrons, full_well, read)
        pixels = sensor.quantise(sensor.to_srgb(light.clamp(0, 1)))
        if "jpeg" in self.effects:
            pixels = sensor.jpeg(pixels, _within(self.jpeg, draws["jpeg"]))
        return (pixels.float() / 255).to(images.dtype)


@dataclass(frozen=True)
class Normalised:
    """A camera for normalised images: (values - mean) / std.

    Args:
        camera: the camera.
        mean: mean of each channel, on the scale of 0 to 1.
        std: standard deviation of each channel, on the same scale.
    """

    camera: Camera
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Applies the camera to normalised images ``[n, C, H, W]``; returns normalised images."""
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (self.camera(images * std + mean, generator) - mean) / std


def corrupt(images: Tensor, severity: int, seed: int = 0) -> Tensor:
    """Corrupts a test set at one severity; the same seed gives the same images.

    Args:
        images: not normalised: uint8 (0 to 255) or any float type (0 to 1), ``[n, 1 or 3, H, W]``.
        severity: 1 to 5, see `Camera.severity`.
        seed: seed of all randomness.

    Returns:
        The same shape and type.

    Raises:
        InputError: another shape, or values outside that scale (for example normalised images).
        UsageError: another severity.
    """
    side = min(images.shape[-2:], default=0)
    camera = Camera.severity(severity, side)
    whole = images.dtype == torch.uint8
    if images.numel() and not whole:
        low, high = (float(value) for value in images.aminmax())
        if not (low >= -0.01 and high <= 1.01):
            raise InputError(
                f"images with values from {low:g} to {high:g}: give uint8, or floats of 0 to 1 "
                "that are not normalised"
            )
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for chunk in torch.split(images, _CHUNK):
        values = camera(chunk / 255 if whole else chunk, generator)
        parts.append((values * 255).round().to(torch.uint8) if whole else values)
    return torch.cat(parts)


def _within(limits: Range, draw: Tensor) -> Tensor:
    low, high = limits
    return low + (high - low) * draw
