from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tvmkd.data import sensor


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walls(*levels: float) -> Tensor:
    """One even gray image of 256 x 256 for each level."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 1, 256, 256).contiguous()


def same(value: float, count: int) -> Tensor:
    return torch.full((count,), value)


def test_the_curve_of_srgb():
    # From the definition: the middle of the encoded scale is about a fifth of the light.
    found = sensor.to_linear(torch.tensor([0.0, 0.04045, 0.5, 1.0]))
    torch.testing.assert_close(
        found, torch.tensor([0.0, 0.0031308, 0.2140411, 1.0]), rtol=1e-4, atol=0
    )
    levels = torch.arange(256)
    back = sensor.quantise(sensor.to_srgb(sensor.to_linear(levels / 255)))
    assert torch.equal(back.long(), levels)


def test_a_stop_doubles_linear_light_and_white_is_the_end():
    light = torch.tensor([0.05, 0.2, 0.4, 0.6]).view(1, 1, 2, 2).expand(2, 1, 2, 2)
    found = sensor.expose(light, torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(found[0].flatten(), torch.tensor([0.1, 0.4, 0.8, 1.0]))
    torch.testing.assert_close(found[1], light[1] / 2)


def test_white_balance_is_a_gain_for_each_channel():
    light = torch.rand(2, 3, 4, 4)
    gains = torch.tensor([[1.2, 1.0, 0.8], [0.5, 1.0, 2.0]])
    ratio = sensor.white_balance(light, gains) / light
    torch.testing.assert_close(ratio.mean((2, 3)), gains)
    assert float(ratio.var((2, 3)).max()) < 1e-10


def test_the_variance_of_shot_noise_is_linear_in_the_light():
    levels = (0.1, 0.2, 0.4, 0.8)
    full_well = 500.0
    found = sensor.shot_noise(walls(*levels), same(full_well, 4), generator())
    # 65,536 pixels: the variance is known to about 0.6%.
    variances = found.var((1, 2, 3)) * full_well
    torch.testing.assert_close(variances, torch.tensor(levels), rtol=0.03, atol=0)
    torch.testing.assert_close(found.mean((1, 2, 3)), torch.tensor(levels), rtol=0.01, atol=0)
    electrons = found * full_well
    torch.testing.assert_close(electrons, electrons.round(), rtol=0, atol=1e-3)


def test_black_has_no_shot_noise_and_fewer_electrons_have_more():
    light = walls(0.0, 0.5, 0.5)
    found = sensor.shot_noise(light - 1e-7, torch.tensor([100.0, 100.0, 10000.0]), generator())
    assert float(found[0].abs().max()) == 0
    assert float(found[1].std() / found[2].std()) == pytest.approx(10, rel=0.03)


def test_read_noise_is_the_same_at_every_level():
    found = sensor.read_noise(walls(0.1, 0.8), same(5.0, 2), same(1000.0, 2), generator())
    torch.testing.assert_close(found.std((1, 2, 3)), same(0.005, 2), rtol=0.02, atol=0)
    torch.testing.assert_close(found.mean((1, 2, 3)), torch.tensor([0.1, 0.8]), rtol=0, atol=1e-4)


def test_eight_bit():
    values = torch.tensor([-0.5, 0.0, 0.5 / 255 + 1e-4, 1.0, 1.5])
    assert sensor.quantise(values).tolist() == [0, 0, 1, 255, 255]
    assert sensor.quantise(values).dtype == torch.uint8


def ramps(channels: int) -> Tensor:
    ramp = torch.linspace(20, 230, 32)
    planes = torch.stack([ramp.expand(32, 32), ramp.expand(32, 32).T, ramp.flip(0).expand(32, 32)])
    return planes[:channels].round().to(torch.uint8)[None]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_of_quality_100_is_nearly_the_identity(channels):
    pixels = ramps(channels)
    found = sensor.jpeg(pixels, torch.tensor([100.0]))
    assert found.shape == pixels.shape
    assert found.dtype == torch.uint8
    error = (found.int() - pixels.int()).abs().float()
    # Of a color file the color is kept at half the resolution.
    assert float(error.mean()) < (0.5 if channels == 1 else 2)
    assert float(error.max()) <= (2 if channels == 1 else 10)


def test_each_jpeg_has_its_own_quality():
    noise = torch.randint(256, (1, 1, 32, 32), dtype=torch.uint8, generator=generator())
    found = sensor.jpeg(noise.expand(3, -1, -1, -1), torch.tensor([95.0, 50.0, 5.0]))
    errors = (found.int() - noise.int()).abs().float().mean((1, 2, 3)).tolist()
    assert errors == sorted(errors)
    assert errors[2] > 3 * errors[0]
