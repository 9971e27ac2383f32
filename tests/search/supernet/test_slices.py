from __future__ import annotations

import pytest
import torch
from nested_nets import Windows
from torch import nn

from tvmkd import models
from tvmkd.search.supernet.alignment import align
from tvmkd.search.supernet.slices import slices


def test_leading_channels_and_the_centre_of_the_window() -> None:
    small, large = Windows(3), Windows(7)
    found = slices(small, large, align(small, large))
    part = found["conv.weight"].of(dict(large.named_parameters()))
    assert torch.equal(part, large.conv.weight[:, :, 2:5, 2:5])
    assert torch.equal(found["head.bias"].of(dict(large.named_parameters())), large.head.bias)


def test_every_tensor_of_the_smaller_network_has_its_shape() -> None:
    small, large = models.build("bottleneck", width=0.5), models.build("bottleneck")
    found = slices(small, large, align(small, large))
    tensors = large.state_dict()
    assert found.keys() == small.state_dict().keys()
    for name, tensor in small.state_dict().items():
        assert found[name].of(tensors).shape == tensor.shape


def test_gradients_flow_back_into_the_part_alone() -> None:
    small, large = nn.Linear(2, 1), nn.Linear(4, 3)
    found = slices(small, large, align(small, large))
    part = found["weight"].of(dict(large.named_parameters()))
    (part * torch.tensor([[2.0, 3.0]])).sum().backward()
    assert large.weight.grad is not None
    assert large.weight.grad.tolist() == [[2, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(("channels", "contiguous"), [(8, True), (16, False)])
def test_thin_convolutions_get_contiguous_weights(channels: int, contiguous: bool) -> None:
    # See tvmkd.distill.memory_format: channels-last ones corrupt memory.
    small, large = nn.Conv2d(channels, 8, 1, 2), nn.Conv2d(32, 8, 1, 2)
    large.to(memory_format=torch.channels_last)
    weight = slices(small, large, align(small, large))["weight"]
    assert weight.contiguous == contiguous
    part = weight.of(dict(large.named_parameters()))
    assert (part.stride() == (channels, 1, 1, 1)) == contiguous
