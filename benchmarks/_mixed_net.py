"""A student with blocks of several kinds, some with kernels that no template of tvmkd knows."""

from __future__ import annotations

from torch import nn

KINDS = ("dense", "separable", "grouped", "dilated")


def block(kind: str, channels: int, out: int, kernel: int, stride: int) -> nn.Sequential:
    """One block with batch norm: a spatial convolution, and a pointwise one where it needs one.

    Args:
        kind: of `KINDS`.
        channels, out: of its input and output.
        kernel: side of the spatial convolution.
        stride: of it.
    """
    half = kernel // 2

    def conv(inner: int, side: int, **options: int) -> list[nn.Module]:
        made = nn.Conv2d(channels, inner, side, stride, bias=False, **options)
        return [made, nn.BatchNorm2d(inner), nn.ReLU()]

    pointwise = [nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    if kind == "separable":
        return nn.Sequential(*conv(channels, kernel, padding=half, groups=channels), *pointwise)
    if kind == "grouped":
        return nn.Sequential(
            *conv(channels, kernel, padding=half, groups=max(1, channels // 8)), *pointwise
        )
    if kind == "dilated":
        return nn.Sequential(*conv(out, kernel, padding=2 * half, dilation=2))
    return nn.Sequential(*conv(out, kernel, padding=half))


def net(
    classes: int = 10,
    channels: int = 1,
    *,
    kind: str = "dense",
    width: int = 16,
    depth: int = 1,
    kernel: int = 3,
) -> nn.Sequential:
    """Three stages of blocks, each at half the resolution of the one before.

    Args:
        classes: of the answer.
        channels: of the image.
        kind: of the blocks.
        width: channels of the first stage; the others have twice and four times as many.
        depth: blocks of each stage after its first one.
        kernel: side of the spatial convolutions.
    """
    stem = nn.Conv2d(channels, width, 3, 2, 1, bias=False)
    layers: list[nn.Module] = [stem, nn.BatchNorm2d(width), nn.ReLU()]
    inside = width
    for stage in range(3):
        out = width * 2**stage
        for place in range(depth + 1):
            stride = 2 if place == 0 and stage > 0 else 1
            layers.append(block(kind, inside, out, kernel, stride))
            inside = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, classes))
