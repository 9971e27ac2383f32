from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tvmkd.data import optics


def each(*values: float) -> Tensor:
    return torch.tensor(values)


def dot(count: int = 1, channels: int = 1, side: int = 21) -> Tensor:
    image = torch.zeros(count, channels, side, side)
    image[:, :, side // 2, side // 2] = 1
    return image


def moments(kernel: Tensor) -> tuple[float, float, float]:
    """Variance along x, along y (up), and their covariance, of a kernel around its middle."""
    reach = kernel.shape[0] // 2
    x = torch.arange(-reach, reach + 1.0)
    y = -x[:, None]
    return (
        float((kernel * x**2).sum()),
        float((kernel * y**2).sum()),
        float((kernel * x * y).sum()),
    )


def test_skew_shifts_the_last_row_and_not_the_first():
    images = torch.rand(3, 3, 9, 12)
    found = optics.skew(images, each(4, 0, -4))
    torch.testing.assert_close(found[:, :, 0], images[:, :, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], images[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[0, :, 8, 4:], images[0, :, 8, :-4], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[2, :, 8, :-4], images[2, :, 8, 4:], atol=1e-5, rtol=0)
    # Half way down it is half as far; at the border the last pixel goes on.
    torch.testing.assert_close(found[0, :, 4, 2:], images[0, :, 4, :-2], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        found[0, :, 8, :4], images[0, :, 8, :1].expand(3, 4), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0, 135.0])
def test_motion_blur_keeps_the_mean_and_spreads_along_its_angle(angle):
    length = 7.0
    (kernel,) = optics.motion_kernels(each(length), each(angle))
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(kernel, kernel.flip(0, 1), atol=1e-5, rtol=0)
    xx, yy, xy = moments(kernel)
    turn = torch.deg2rad(each(angle))
    cos, sin = float(torch.cos(turn)), float(torch.sin(turn))
    along = xx * cos**2 + 2 * xy * cos * sin + yy * sin**2
    across = xx * sin**2 - 2 * xy * cos * sin + yy * cos**2
    # A straight path of that length has a variance of length**2 / 12; sharing a place among four
    # pixels adds at most a quarter.
    assert length**2 / 12 - 0.05 < along < length**2 / 12 + 0.25
    assert across < 0.25
    blurred = optics.blur(dot(), kernel[None])
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)


def test_motion_along_a_row_leaves_columns_sharp():
    blurred = optics.blur(dot(2), optics.motion_kernels(each(6, 6), each(0, 90)))
    torch.testing.assert_close(blurred[0, 0].sum(1)[10], torch.tensor(1.0))
    assert int((blurred[0, 0, 10] > 0.01).sum()) >= 6
    torch.testing.assert_close(blurred[1, 0], blurred[0, 0].T, atol=1e-5, rtol=0)


def test_no_motion_and_no_defocus_is_no_change():
    images = torch.rand(2, 3, 8, 8)
    still = optics.motion_kernels(each(0, 5), each(20, 20))
    torch.testing.assert_close(optics.blur(images, still)[0], images[0])
    sharp = optics.disk_kernels(each(0, 2))
    torch.testing.assert_close(optics.blur(images, sharp)[0], images[0])
    assert optics.disk_kernels(each(0)).tolist() == [[[1]]]


def test_defocus_is_a_round_flat_disk():
    radius = 6.0
    (kernel,) = optics.disk_kernels(each(radius))
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(kernel, kernel.T)
    torch.testing.assert_close(kernel, kernel.flip(0))
    area = 1 / float(kernel.max())
    assert area == pytest.approx(3.14159 * radius**2, rel=0.02)
    xx, yy, _ = moments(kernel)
    assert xx == pytest.approx(radius**2 / 4, rel=0.03)
    assert yy == pytest.approx(xx, rel=1e-4)


def test_each_image_has_its_own_kernel():
    images = torch.rand(3, 3, 11, 9)
    kernels = optics.disk_kernels(each(0.7, 1.6, 3.0))
    together = optics.blur(images, kernels)
    for index in range(3):
        alone = optics.blur(images[index : index + 1], kernels[index : index + 1])
        torch.testing.assert_close(together[index], alone[0])
    assert together.shape == images.shape


def test_an_even_wall_stays_even_up_to_its_border():
    wall = torch.full((1, 1, 6, 6), 0.3)
    for kernels in (optics.disk_kernels(each(4)), optics.motion_kernels(each(15), each(60))):
        torch.testing.assert_close(optics.blur(wall, kernels), wall)
