from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.prune import channels

SHAPE = (1, 1, 32, 32)
STUDENTS: dict[str, dict[str, Any]] = {
    "residual": {"widths": [16, 32], "depth": 1},
    "depthwise": {"stem": 16, "blocks": [[32, 1], [64, 2]]},
    "bottleneck": {},
    "mobilevit": {},
}


def dense(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def student(spec: str) -> nn.Module:
    torch.manual_seed(0)
    return models.build(spec, classes=10, **STUDENTS[spec])


@pytest.mark.parametrize("spec", ["residual", "depthwise", "bottleneck"])
def test_fewer_channels_and_still_a_classifier(spec: str) -> None:
    network = student(spec)
    before = channels.widths(network)
    assert channels.shrink(network, SHAPE, 0.5, 8, dense(network))
    after = channels.widths(network)
    assert sum(after.values()) < 0.8 * sum(before.values())
    assert all(width % 8 == 0 for path, width in after.items() if before[path] % 8 == 0)
    assert network.training
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


DETECTORS = {
    "retinanet": {"smallest": 12},
    "ssdlite": {"finest": 8, "extras": 1, "pyramid": 32, "scales": [0.2, 0.3, 0.5, 0.7, 0.9]},
}


@pytest.mark.parametrize("spec", ["ssdlite", pytest.param("retinanet", marks=pytest.mark.slow)])
def test_fewer_channels_and_still_a_detector(spec: str) -> None:
    torch.manual_seed(0)
    network = models.build(spec, classes=3, size=64, **DETECTORS[spec])
    before, images = channels.widths(network), torch.rand(2, 3, 64, 64)
    outputs = [output.shape for output in network.eval()(images)]
    history = channels.shrink(network, (1, 3, 64, 64), 0.5, 8, network.output_layers())
    after = channels.widths(network)
    assert sum(after.values()) < 0.8 * sum(before.values())
    assert [output.shape for output in network(images)] == outputs
    base = {"base": spec, "args": {"classes": 3, "size": 64, **DETECTORS[spec]}}
    twin = models.build("pruned", **base, shape=[1, 3, 64, 64], history=history)
    twin.load_state_dict(network.state_dict())
    for mine, other in zip(network(images), twin.eval()(images), strict=True):
        assert torch.equal(mine, other)


def test_a_depthwise_convolution_loses_what_comes_into_it() -> None:
    network = student("depthwise")
    channels.shrink(network, SHAPE, 0.5, 8, dense(network))
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            assert module.groups == module.in_channels == module.out_channels


def test_the_smallest_weights_go() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        network[0].weight.copy_(
            torch.tensor([3.0, 0.1, 2.0, 0.2]).view(4, 1, 1, 1).expand(4, 1, 3, 3)
        )
        network[3].weight.fill_(1.0)
    history = channels.shrink(network, (1, 1, 4, 4), 0.5, 1, dense(network))
    assert history == [["0", True, [1, 3]]]
    assert network[0].weight[:, 0, 0, 0].tolist() == [3.0, 2.0]


def test_nothing_goes_where_the_multiple_leaves_nothing() -> None:
    network = models.build("residual", classes=10, widths=[8], depth=1)
    before = channels.widths(network)
    assert channels.shrink(network, SHAPE, 0.25, 8, dense(network)) == []
    assert channels.widths(network) == before


def test_a_network_that_cannot_be_followed_is_one_line() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no\nsuch thing")

    with pytest.raises(InputError, match=r"Odd: Torch-Pruning cannot follow it: ValueError: no$"):
        channels.shrink(Odd(), SHAPE, 0.5, 8, [])
