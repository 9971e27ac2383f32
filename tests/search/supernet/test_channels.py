from __future__ import annotations

import pytest
import torch
import torchvision
from nested_nets import Grouped, Joined
from torch import nn

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.search.supernet.alignment import align
from tvmkd.search.supernet.channels import Channels, Segment, kept
from tvmkd.search.supernet.slices import slices

SHAPE = (1, 3, 16, 16)


def test_places_of_a_concatenation_and_of_a_flattened_map() -> None:
    found = Channels(Joined(), SHAPE)
    one, other = found.segments["last", "in"]
    assert (one.start, other.start) == (0, 16)
    assert [found.widths[each.group] for each in (one, other)] == [16, 32]
    assert found.segments["one", "out"] == [one]
    assert found.segments["norm", "out"] == [one, other]
    found = Channels(Grouped(), SHAPE)
    (head,) = found.segments["head", "in"]
    assert head == Segment(found.segments["last", "out"][0].group, 0, 4)


def test_the_second_part_of_a_concatenation_starts_where_it_does_in_the_larger_network() -> None:
    small, large = Joined(4), Joined(16)
    found = kept(small, large, align(small, large), Channels(large, SHAPE))
    assert found.keys() == {("norm", "out"), ("last", "in")}
    assert found["last", "in"].tolist() == [*range(4), *range(16, 24)]


def test_every_group_of_a_convolution_keeps_its_own_leading_channels() -> None:
    small, large = Grouped(8), Grouped(16)
    found = kept(small, large, align(small, large), Channels(large, SHAPE))
    # All that is added up or normalised with them keeps the same.
    both = [0, 1, 4, 5, 8, 9, 12, 13]
    assert found["grouped", "out"].tolist() == found["norm", "out"].tolist() == both
    assert found["stem", "out"].tolist() == found["last", "in"].tolist() == both
    assert ("head", "in") not in found


def masked(small: nn.Module, large: nn.Module, channels: Channels | None) -> float:
    """How much a sub-network differs from the largest one whose other weights are zero."""
    found = slices(small, large, align(small, large), channels)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in large.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.3)
        for module in large.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        for name, tensor in small.state_dict().items():
            tensor.copy_(found[name].of(large.state_dict()))
        for name, tensor in large.named_parameters():
            mask, piece = torch.zeros_like(tensor), found[name]
            picks = [
                piece.picks.get(axis, torch.arange(*piece.ranges[axis].indices(size)))
                for axis, size in enumerate(tensor.shape)
            ]
            mask[torch.meshgrid(*picks, indexing="ij")] = 1
            tensor.mul_(mask)
        images = torch.rand(2, *SHAPE[1:], generator=generator)
        one, other = small.eval()(images), large.eval()(images)
    return float((one - other).abs().max() / one.abs().max())


def test_a_sub_network_is_the_largest_without_some_of_its_channels() -> None:
    for small, large in (
        (Joined(4), Joined(16)),
        (Grouped(8), Grouped(16)),
        (models.build("bottleneck", channels=3, width=0.5), models.build("bottleneck", channels=3)),
        (models.build("depthwise", channels=3, width=0.5), models.build("depthwise", channels=3)),
        (regnet(8), regnet(16)),
    ):
        assert masked(small, large, Channels(large, SHAPE)) < 1e-5
    # The leading channels of these are others.
    assert masked(Joined(4), Joined(16), None) > 1e-2
    assert masked(Grouped(8), Grouped(16), None) > 1e-2


def regnet(width: int) -> nn.Module:
    """Grouped convolutions whose groups become fewer, with squeeze-and-excitation."""
    blocks = torchvision.models.regnet.BlockParams(
        depths=[1, 1],
        widths=[width, 2 * width],
        group_widths=[4, 4],
        bottleneck_multipliers=[1.0, 1.0],
        strides=[2, 2],
        se_ratio=0.25,
    )
    return torchvision.models.RegNet(blocks, num_classes=10)


class Fails(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not\ntoday")


def test_a_network_that_cannot_be_followed() -> None:
    with pytest.raises(InputError, match="cannot follow it: RuntimeError: not"):
        Channels(Fails(), SHAPE)
