from __future__ import annotations

import pytest
import torch
from tiny_detectors import one_map, shared, sight
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.distill.detector.terms.mgd import MGD


def made(share: float, alpha: float = 2e-5) -> MGD:
    """With a generator that gives what it gets."""
    network = shared()
    loss = one_map(MGD(network, network, share=share, alpha=alpha), 2)
    assert isinstance(loss, MGD)
    first, last = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
    for one in (first, last):
        nn.init.dirac_(one.weight)
        nn.init.zeros_(one.bias)
    loss.generators = nn.ModuleList([nn.Sequential(first, nn.ReLU(), last)])
    return loss


def test_the_squared_distance_by_hand() -> None:
    """Nothing masked: the sum over channels and cells, divided by the images."""
    mine = torch.tensor([1.0, 2, 3, 4]).reshape(1, 2, 1, 2).repeat(2, 1, 1, 1)
    wanted = mine + torch.tensor([1.0, 0, 2, 0]).reshape(1, 2, 1, 2)
    assert made(0.0, alpha=0.1)(sight(mine, wanted)).item() == pytest.approx(0.1 * 5)


def test_whole_cells_are_masked_at_random_in_each_image() -> None:
    loss, ones = made(0.65, alpha=1.0), torch.ones(40, 2, 8, 8)
    torch.manual_seed(3)
    first = loss(sight(ones, ones)).item()
    assert first == pytest.approx(2 * 64 * 0.65, rel=0.05)  # each masked cell costs 1 a channel
    assert loss(sight(ones, ones)).item() != first
    torch.manual_seed(3)
    assert loss(sight(ones, ones)).item() == first


def test_the_generator_learns() -> None:
    loss = made(0.3)
    mine = torch.ones(1, 2, 4, 4, requires_grad=True)
    loss(sight(mine, torch.zeros(1, 2, 4, 4))).backward()
    assert mine.grad is not None
    assert all(weight.grad is not None for weight in loss.parameters())


def test_a_share_that_leaves_nothing_is_refused() -> None:
    network = shared()
    with pytest.raises(InputError, match=r"^mgd: share has to be 0 to below 1, not 1$"):
        MGD(network, network, share=1.0)
