from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_detectors import one_map, shared, sight
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.distill.detector.terms.fgd import FGD, GlobalContext, attention, scales


def made(**weights: float) -> FGD:
    network = shared()
    off = {"foreground": 0.0, "background": 0.0, "attention": 0.0, "relation": 0.0}
    loss = one_map(FGD(network, network, **{**off, **weights}), 2)
    assert isinstance(loss, FGD)
    loss.mine = nn.ModuleList([GlobalContext(2)])
    loss.other = nn.ModuleList([GlobalContext(2)])
    return loss


def softmax(values: list[float], heat: float) -> list[float]:
    powers = [math.exp(value / heat) for value in values]
    return [power / sum(powers) for power in powers]


MINE = torch.tensor([[1.0, -1.0], [0.0, 2.0]]).reshape(1, 2, 1, 2)
WANTED = torch.tensor([[2.0, 0.0], [-2.0, 1.0]]).reshape(1, 2, 1, 2)
# Means of absolute values: over channels 2 and 0.5, over places 1 and 1.5.
SPACE = [2 * share for share in softmax([2.0, 0.5], 0.5)]
CHANNEL = [2 * share for share in softmax([1.0, 1.5], 0.5)]


def test_attention_by_hand() -> None:
    space, channel = attention(WANTED, 0.5)
    assert space.shape == (1, 1, 2)
    assert space.flatten().tolist() == pytest.approx(SPACE, rel=1e-5)
    assert channel.flatten().tolist() == pytest.approx(CHANNEL, rel=1e-5)


def test_the_focal_part_by_hand() -> None:
    """The left cell is inside of the box, the right one is background."""
    gaps = (MINE - WANTED).pow(2)[0, :, 0].tolist()  # by channel, then place
    inside, outside = (
        SPACE[place] * sum(CHANNEL[one] * gaps[one][place] for one in range(2))
        for place in range(2)
    )
    box = [[0.0, 0.0, 32.0, 64.0]]
    found = made(foreground=3.0)(sight(MINE, WANTED, box))
    assert found.item() == pytest.approx(3 * inside, rel=1e-5)
    found = made(background=5.0)(sight(MINE, WANTED, box))
    assert found.item() == pytest.approx(5 * outside, rel=1e-5)


def test_the_attentions_are_compared_by_hand() -> None:
    space = [2 * share for share in softmax([0.5, 1.5], 0.5)]
    channel = [2 * share for share in softmax([1.0, 1.0], 0.5)]
    gap = sum(abs(a - b) for a, b in zip(space + channel, SPACE + CHANNEL, strict=True))
    found = made(attention=2.0)(sight(MINE, WANTED))
    assert found.item() == pytest.approx(2 * gap, rel=1e-5)


def test_relations_start_as_the_plain_distance_and_learn() -> None:
    """The blocks are the identity at first: 1 + 1 + 4 + 1."""
    loss = made(relation=1.0)
    found = loss(sight(MINE, WANTED))
    assert found.item() == pytest.approx(7.0)
    found.backward()
    last = loss.other[0].change[-1]
    assert bool(last.bias.grad.any())


def test_a_block_adds_what_it_sees_in_the_whole_map() -> None:
    block = GlobalContext(2)
    nn.init.zeros_(block.where.weight)
    nn.init.zeros_(block.where.bias)
    block.change = nn.Identity()
    # An even softmax: the mean over places is added to each.
    found = block(WANTED)
    assert torch.allclose(found, WANTED + WANTED.mean((2, 3), keepdim=True))


def test_the_sum_is_a_mean_over_images() -> None:
    loss = made(foreground=1.0, background=1.0, attention=1.0, relation=1.0)
    box = [[0.0, 0.0, 32.0, 64.0]]
    one = float(loss(sight(MINE, WANTED, box)))
    two = float(loss(sight(MINE.repeat(2, 1, 1, 1), WANTED.repeat(2, 1, 1, 1), box)))
    assert two == pytest.approx(one, rel=1e-5)
    assert one > 1


def test_small_and_large_objects_count_alike() -> None:
    boxes = torch.tensor([[0.0, 0.0, 64.0, 64.0], [0.0, 0.0, 16.0, 16.0]])
    targets: list[Any] = [{"boxes": boxes}, {"boxes": torch.zeros(0, 4)}]
    inside, outside = scales(targets, 64, (4, 4))
    # The smaller box covers one cell; the larger one all sixteen.
    assert inside[0].flatten().tolist() == [1.0, *[1 / 16] * 15]
    assert outside[0].sum() == 0
    assert inside[1].sum() == 0
    assert outside[1].flatten().tolist() == [1 / 16] * 16


def test_a_temperature_of_nothing_is_refused() -> None:
    network = shared()
    with pytest.raises(InputError, match=r"^fgd: temperature has to be above 0, not 0$"):
        FGD(network, network, temperature=0.0)
