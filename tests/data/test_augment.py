from __future__ import annotations

import pytest
import torch

from tvmkd import config, data
from tvmkd.data import augment
from tvmkd.data.augment import Affine, Chain
from tvmkd.data.camera import Camera, Normalised


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_change_asked_for_is_no_change():
    images = torch.rand(4, 2, 9, 9)
    still = Affine(turn=0, scale=0, shear=0, shift=0)
    torch.testing.assert_close(still(images, generator()), images, atol=1e-5, rtol=1e-5)


def test_a_flip_mirrors_about_half():
    images = torch.rand(200, 1, 8, 8)
    changed = Affine(turn=0, scale=0, shear=0, shift=0, flip=True)(images, generator())
    same = (changed - images).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (changed - images.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    assert (same | mirrored).all()
    assert 60 < int(mirrored.sum()) < 140


def test_all_randomness_is_the_generators():
    images = torch.rand(3, 1, 16, 16)
    torch.manual_seed(1)
    first = Affine()(images, generator(5))
    torch.manual_seed(2)
    assert torch.equal(Affine()(images, generator(5)), first)
    assert not torch.equal(Affine()(images, generator(6)), first)
    assert first.shape == images.shape


def test_a_shift_has_the_stated_size():
    """Half an image to the right at most: a dot moves at most that far."""
    dot = torch.zeros(100, 1, 21, 21)
    dot[:, :, 10, 10] = 1
    moved = Affine(turn=0, scale=0, shear=0, shift=0.2)(dot, generator())
    weights = moved.flatten(1) / moved.flatten(1).sum(1, keepdim=True)
    columns = (weights * torch.arange(21).repeat(21)).sum(1)
    assert 1.5 < float((columns - 10).abs().max()) <= 0.2 * 21 / 2 + 0.1


def test_what_moves_in_is_the_border_and_not_black():
    white = torch.ones(20, 1, 16, 16)
    changed = Affine(turn=45, scale=0.5, shear=0.5, shift=0.9)(white, generator())
    torch.testing.assert_close(changed, white)


@pytest.mark.parametrize(
    ("change", "matrix"),
    [
        # By hand, of the largest draw: [[cos·size, shear - sin, x], [sin, cos·size, y]].
        ({"turn": 90.0}, [[0, -1, 0], [1, 0, 0]]),
        ({"scale": 0.5}, [[1.5, 0, 0], [0, 1.5, 0]]),
        ({"shear": 0.5}, [[1, 0.5, 0], [0, 1, 0]]),
        ({"shift": 0.25}, [[1, 0, 0.25], [0, 1, 0.25]]),
        ({"flip": True}, [[1, 0, 0], [0, 1, 0]]),
    ],
)
def test_each_change_at_its_largest_by_hand(change, matrix, monkeypatch):
    seen = []
    monkeypatch.setattr(augment.torch, "rand", lambda *size, generator: torch.ones(*size))
    monkeypatch.setattr(
        augment.F, "affine_grid", lambda theta, *_, **__: seen.append(theta) or theta
    )
    monkeypatch.setattr(augment.F, "grid_sample", lambda images, *_, **__: images)
    still = {"turn": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}
    Affine(**{**still, **change})(torch.zeros(2, 1, 4, 4), generator())
    expected = torch.tensor(matrix, dtype=torch.float32).expand(2, 2, 3)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-6)


def named(name: str, **options):
    return augment.named(config.Data(augment=name, **options), [0.4], [0.2])


def test_names():
    camera = Normalised(Camera(), (0.4,), (0.2,))
    assert named("none") is None
    assert named("affine") == Affine(flip=False)
    assert named("flip") == Affine(flip=True)
    assert named("camera") == camera
    assert named("camera+affine") == Chain((Affine(flip=False), camera))
    assert named("camera+flip") == Chain((Affine(flip=True), camera))


def test_the_camera_has_the_ranges_of_the_config():
    ranges = config.Camera(effects=("jpeg",), jpeg=(10, 20))
    assert named("camera", camera=ranges).camera == Camera(effects=("jpeg",), jpeg=(10, 20))


def test_a_chain_is_its_steps_in_order():
    images = torch.rand(3, 1, 9, 9)
    draws = generator(2)
    expected = Affine(shift=0)(Affine(turn=0)(images, draws), draws)
    found = Chain((Affine(turn=0), Affine(shift=0)))(images, generator(2))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["camera", "camera+affine"])
def test_the_digits_are_photographed_in_training(name):
    splits = data.load(config.Data(augment=name))
    images = splits.train.get(torch.arange(16))
    found = splits.augment(images, generator())
    assert found.shape == images.shape
    facts = splits.preprocessing
    pixels = (found * facts["std"][0] + facts["mean"][0]) * 255
    torch.testing.assert_close(pixels, pixels.round(), rtol=0, atol=1e-2)
    assert not torch.equal(found, images)


def test_pixels_beyond_the_edge_repeat_the_last_one() -> None:
    ramp = torch.linspace(0, 1, 16).expand(8, 1, 16, 16)
    moved = Affine(turn=0, scale=0, shear=0, shift=0.8)(ramp, torch.Generator().manual_seed(0))
    assert (moved.diff(dim=-1) >= -1e-6).all()
    assert float((moved - ramp).abs().max()) > 0.2


@pytest.mark.parametrize(
    "change",
    [
        Affine(flip=True),
        Chain((Affine(), Affine(turn=90.0))),
        lambda x, g: x + torch.rand(1, generator=g),
    ],
)
def test_each_image_is_changed_with_its_own_generator(change) -> None:
    images = torch.rand(3, 1, 8, 8)

    seeds = (5, 6, 7)
    found = augment.each(change, images, [generator(seed) for seed in seeds])
    for number, seed in enumerate(seeds):
        alone = change(images[number : number + 1], generator(seed))
        torch.testing.assert_close(found[number : number + 1], alone)
