from __future__ import annotations

import itertools
from dataclasses import fields, replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from tvmkd import config
from tvmkd.base.errors import InputError, UsageError
from tvmkd.data import optics, sensor
from tvmkd.data.camera import EFFECTS, Camera, Normalised, corrupt


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 4, channels: int = 3, side: int = 24) -> Tensor:
    """Smooth pictures with something to see in each."""
    coarse = torch.rand(count, channels, 4, 4, generator=generator(1))
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)


def mean_error(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().mean())


def test_the_config_has_the_same_effects_and_defaults():
    assert get_args(config.Effect) == EFFECTS
    assert Camera(**config.Camera().model_dump()) == Camera()
    assert list(config.Camera.model_fields) == [field.name for field in fields(Camera)]


def test_without_effects_only_8_bits_are_left():
    images = pictures()
    found = Camera(effects=())(images, generator())
    assert float((found - images).abs().max()) <= 0.5 / 255 + 1e-5
    torch.testing.assert_close(found * 255, (found * 255).round(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_and_type_are_kept(channels, dtype):
    images = pictures(3, channels).to(dtype)
    found = Camera()(images, generator())
    assert found.shape == images.shape
    assert found.dtype == dtype
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert Camera()(images[:0], generator()).shape == (0, channels, 24, 24)


def test_all_randomness_is_the_generators():
    images = pictures()
    torch.manual_seed(1)
    first = Camera()(images, generator(5))
    torch.manual_seed(2)
    assert torch.equal(Camera()(images, generator(5)), first)
    assert not torch.equal(Camera()(images, generator(6)), first)


@pytest.mark.parametrize("effect", EFFECTS)
def test_each_effect_does_something_alone_but_white_balance_to_gray(effect):
    camera = Camera(effects=(effect,), defocus=(1.0, 2.0))
    for channels in (1, 3):
        images = pictures(8, channels)
        changed = mean_error(camera(images, generator()), Camera(effects=())(images, generator()))
        assert (changed > 0) == ((effect, channels) != ("white_balance", 1))


CALLS = {
    "skew": (optics, "skew"),
    "motion": (optics, "motion_kernels"),
    "defocus": (optics, "disk_kernels"),
    "exposure": (sensor, "expose"),
    "white_balance": (sensor, "white_balance"),
    "shot_noise": (sensor, "shot_noise"),
    "read_noise": (sensor, "read_noise"),
    "jpeg": (sensor, "jpeg"),
}


@pytest.fixture
def strengths(monkeypatch) -> dict[str, list[Tensor]]:
    """What each effect is called with, its images left out; of a generator, its state."""
    seen: dict[str, list[Tensor]] = {}

    def watch(effect, module, name):
        inner = getattr(module, name)

        def outer(*given):
            seen[effect] = [
                value.get_state() if isinstance(value, torch.Generator) else value.clone()
                for value in given
                if isinstance(value, torch.Generator) or value.ndim < 4
            ]
            return inner(*given)

        monkeypatch.setattr(module, name, outer)

    for effect, place in CALLS.items():
        watch(effect, *place)
    return seen


@pytest.mark.parametrize("off", EFFECTS)
def test_an_effect_that_is_off_leaves_the_others_as_they_are(off, strengths):
    images = pictures()
    Camera()(images, generator())
    every = dict(strengths)
    assert tuple(every) == EFFECTS
    strengths.clear()
    Camera(effects=tuple(effect for effect in EFFECTS if effect != off))(images, generator())
    assert set(every) - set(strengths) == {off}
    for effect, seen in strengths.items():
        assert seen
        assert all(torch.equal(*pair) for pair in zip(seen, every[effect], strict=True)), effect


def test_the_next_batch_draws_the_same_whatever_this_one_was():
    states = []
    for effects, images in ((EFFECTS, pictures()), ((), pictures()), (EFFECTS, pictures() * 0)):
        draws = generator()
        Camera(effects=effects)(images, draws)
        states.append(draws.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_noise_alone_is_the_noise_among_others():
    wall = torch.full((2, 1, 64, 64), 0.6)
    camera = Camera(exposure=(0.0, 0.0), full_well=(300.0, 300.0), read_noise=(5.0, 5.0))
    alone = replace(camera, effects=("read_noise",))(wall, generator())
    # Blur and skew see nothing on an even wall, and exposure is at 0.
    blind = ("skew", "motion", "defocus", "exposure")
    among = replace(camera, effects=(*blind, "read_noise"))(wall, generator())
    assert mean_error(alone, among) < 0.1 / 255
    assert mean_error(alone, wall) > 2 / 255


def test_a_stop_doubles_the_light_of_a_picture():
    images = pictures() * 0.5
    brighter = Camera(effects=("exposure",), exposure=(1.0, 1.0))(images, generator())
    before, after = sensor.to_linear(images), sensor.to_linear(brighter)
    torch.testing.assert_close(after, 2 * before, rtol=0, atol=0.006)


def test_the_noise_of_a_picture_is_that_of_its_light():
    """At half of white, 1,000 electrons at white: sqrt(500) of shot noise."""
    encoded = sensor.to_srgb(torch.full((1, 1, 256, 256), 0.5))
    camera = Camera(effects=("shot_noise",), full_well=(1000.0, 1000.0))
    light = sensor.to_linear(camera(encoded, generator()))
    assert float(light.std()) * 1000 == pytest.approx(500**0.5, rel=0.03)
    camera = replace(camera, effects=("read_noise",), read_noise=(20.0, 20.0))
    light = sensor.to_linear(camera(encoded, generator()))
    assert float(light.std()) * 1000 == pytest.approx(20, rel=0.03)


def test_images_draw_from_the_whole_range():
    walls = torch.full((400, 1, 4, 4), 0.5)
    found = Camera(effects=("exposure",), exposure=(-1.0, 1.0))(walls, generator())
    ratio = sensor.to_linear(found[:, 0, 0, 0]) / sensor.to_linear(torch.tensor(0.5))
    stops = torch.log2(ratio)
    assert -1.02 < float(stops.min()) < -0.9
    assert 0.9 < float(stops.max()) < 1.02
    assert abs(float(stops.mean())) < 0.1


def test_a_full_well_is_drawn_evenly_on_a_logarithmic_scale(strengths):
    walls = torch.full((4000, 1, 1, 1), 0.5)
    for effect in ("shot_noise", "read_noise"):
        camera = Camera(effects=(effect,), full_well=(100.0, 10000.0))
        camera(walls, generator())
        wells = next(each for each in strengths[effect] if float(each.max()) > 50)
        assert 100 <= float(wells.min()) < 101
        assert 9900 < float(wells.max()) <= 10000.5
        quartiles = torch.quantile(wells, torch.tensor([0.25, 0.5, 0.75]))
        # Linearly they would be at 2,575, 5,050 and 7,525.
        torch.testing.assert_close(quartiles, torch.tensor([316.0, 1000, 3162]), rtol=0.1, atol=0)


def test_each_draw_comes_from_its_own_range(strengths):
    ranges = {
        "skew": (1.0, 1.25),
        "motion": (2.0, 2.25),
        "angle": (30.0, 31.0),
        "defocus": (3.0, 3.25),
        "exposure": (-0.5, -0.25),
        "white_balance": (0.9, 0.95),
        "full_well": (300.0, 301.0),
        "read_noise": (4.0, 4.25),
        "jpeg": (70.0, 71.0),
    }
    Camera(**ranges)(pictures(16), generator())
    expected = {
        "skew": ["skew"],
        "motion": ["motion", "angle"],
        "defocus": ["defocus"],
        "exposure": ["exposure"],
        "shot_noise": ["full_well"],
        "read_noise": ["read_noise", "full_well"],
        "jpeg": ["jpeg"],
    }
    shares = {}
    for effect, names in expected.items():
        for name, values in zip(names, strengths[effect], strict=False):
            low, high = ranges[name]
            shares[name] = (values - low) / (high - low)
            assert low - 1e-3 <= float(values.min()) < float(values.max()) <= high + 1e-3, name
    (gains,) = strengths["white_balance"]
    assert torch.equal(gains[:, 1], torch.ones(16))
    for channel in (0, 2):
        assert 0.9 <= float(gains[:, channel].min()) < float(gains[:, channel].max()) <= 0.95
    shares |= {str(channel): (gains[:, channel] - 0.9) / 0.05 for channel in (0, 2)}
    for first, second in itertools.combinations(shares, 2):
        apart = (shares[first] - shares[second]).abs().max()
        assert float(apart) > 0.1, f"{first} and {second} are drawn independently"


@pytest.mark.parametrize("shape", [(16, 64), (64, 16)])
def test_a_severity_is_measured_by_the_shorter_side(shape, strengths):
    corrupt(torch.rand(2, 1, *shape, generator=generator()), 3)
    assert strengths["motion"][0].tolist() == pytest.approx([0.06 * 16] * 2)
    assert strengths["defocus"][0].tolist() == pytest.approx([0.02 * 16] * 2)
    assert float(strengths["skew"][0].abs().max()) <= 0.06 * 16


def test_the_five_severities_by_hand():
    mild, worst = Camera.severity(1, 100), Camera.severity(5, 100)
    assert mild.skew == pytest.approx((-2, 2))
    assert worst.skew == pytest.approx((-12, 12))
    assert (mild.motion, worst.motion) == ((2.0, 2.0), (12.0, 12.0))
    assert (mild.defocus, worst.defocus) == ((0.5, 0.5), (4.0, 4.0))
    assert (mild.exposure, worst.exposure) == ((-0.25, 0.25), (-1.5, 1.5))
    assert mild.white_balance == pytest.approx((0.97, 1.03))
    assert worst.white_balance == pytest.approx((0.8, 1.2))
    assert (mild.full_well, worst.full_well) == ((4000.0, 4000.0), (250.0, 250.0))
    assert (mild.read_noise, worst.read_noise) == ((2.0, 2.0), (8.0, 8.0))
    assert (mild.jpeg, worst.jpeg) == ((90.0, 90.0), (30.0, 30.0))
    for number in (0, 6, -1):
        with pytest.raises(UsageError, match="give one from 1 to 5"):
            Camera.severity(number)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.01, 1.0), (0.0, 1.01)])
def test_values_may_overshoot_a_little(low, high):
    images = torch.tensor([low, high]).view(1, 1, 1, 2).repeat(1, 1, 8, 4)
    assert corrupt(images, 1).shape == images.shape


@pytest.mark.parametrize(("low", "high"), [(-0.02, 1.0), (0.0, 1.02), (0.0, float("nan"))])
def test_values_beyond_that_are_refused(low, high):
    images = torch.tensor([low, high]).view(1, 1, 1, 2).repeat(1, 1, 8, 4)
    with pytest.raises(InputError, match="that are not normalised"):
        corrupt(images, 1)


def test_every_chunk_of_a_set_is_corrupted_with_draws_of_its_own():
    images = pictures(1, 1, 16).repeat(65, 1, 1, 1)
    found = corrupt(images, 4, seed=1)
    assert found.shape == images.shape
    assert len({tuple(each.flatten().tolist()) for each in found}) == 65
    assert corrupt(images[:0], 4).shape == (0, 1, 16, 16)


@pytest.mark.parametrize("channels", [1, 3])
def test_severities_get_worse(channels):
    images = pictures(64, channels, 32)
    errors = [mean_error(corrupt(images, number, seed=3), images) for number in range(1, 6)]
    assert errors == sorted(errors)
    assert errors[4] > 2 * errors[0]
    assert Camera.severity(2, 64).motion == tuple(2 * side for side in Camera.severity(2).motion)


def test_a_corrupted_test_set_is_the_same_each_time():
    images = pictures(70, 1, 16)
    found = corrupt(images, 4, seed=1)
    assert torch.equal(corrupt(images, 4, seed=1), found)
    assert not torch.equal(corrupt(images, 4, seed=2), found)
    assert not torch.equal(corrupt(images, 3, seed=1), found)


def test_bytes_stay_bytes():
    images = (pictures() * 255).round().to(torch.uint8)
    found = corrupt(images, 3)
    assert found.dtype == torch.uint8
    torch.testing.assert_close(found / 255, corrupt(images / 255, 3))


def test_normalised_images_stay_normalised():
    images = pictures()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    # Shot noise is left out: with light that is another in its last bit it may take more numbers.
    camera = Camera(effects=tuple(effect for effect in EFFECTS if effect != "shot_noise"))
    found = Normalised(camera, mean, std)((images - shift) / scale, generator())
    # Rounding may take a pixel to the next of 256 levels, and JPEG its neighbours with it.
    assert mean_error(found * scale + shift, camera(images, generator())) < 1e-3


def test_what_is_no_picture_is_said():
    with pytest.raises(UsageError, match="severity 6: give one from 1 to 5"):
        corrupt(pictures(), 6)
    with pytest.raises(UsageError, match='no effect "defocuss"; did you mean "defocus"'):
        Camera(effects=("defocuss",))
    with pytest.raises(InputError, match=r"shape \[24, 24\]: a camera takes \[n, C, H, W\]"):
        corrupt(torch.rand(24, 24), 1)
    with pytest.raises(InputError, match=r"shape \[2, 4, 8, 8\]"):
        Camera()(torch.rand(2, 4, 8, 8), generator())
    with pytest.raises(InputError, match=r"values from -1 to 1: .* not normalised"):
        corrupt(torch.linspace(-1, 1, 64).view(1, 1, 8, 8), 1)
