from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spaces
import torch

from tvmkd.base.errors import InputError
from tvmkd.search.supernet import corners
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.networks import KEPT, Networks, random_state_kept, without_weights

IMAGES = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
DATA = {"data": {"dataset": "digits", "image_size": 16}}
BLOCKS = {"student": {"args": {"stem": 8, "blocks": [[8, 1], [16, 2], [16, 1]]}}}


def make(space: dict[str, Any], search_in: Path | None = None, **sections: Any) -> Networks:
    made = spaces.make(space, search_in, **{**DATA, **sections})
    blueprints = Blueprints(made.cfg, made)
    ends = corners.find(blueprints)
    return Networks(blueprints, ends, blueprints.build(ends.largest, 1))


def trained(networks: Networks) -> Networks:
    """With weights and statistics that are not those of the start."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in networks.largest.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.2 + 0.1)
    return networks


def structures(networks: Networks, count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    ends = [dict(networks.corners.smallest), dict(networks.corners.largest)]
    return [*ends, *(networks.blueprints.space.draw(rng) for _ in range(count))]


def three(low: float, high: float) -> dict[str, Any]:
    return {"low": low, "high": high, "step": (high - low) / 2, "per_stage": True}


@pytest.mark.parametrize(
    ("space", "sections"),
    [
        ({"width": three(0.5, 1.5), "depth": three(1, 2), "kernel": [3, 5]}, BLOCKS),
        (
            {
                "width": three(0.5, 1.0),
                "depth": {"low": 0.5, "high": 1.0, "step": 0.5},
                "kernel": {"choices": [3, 5], "per_stage": True},
                "expansion": {"choices": [1, 2, 4], "per_stage": True},
            },
            {"student": {"model": "bottleneck"}},
        ),
        (
            {"student.args.widths": [[8, 8], [8, 16], [16, 24]], "depth": [1, 2]},
            {"student": {"model": "residual"}},
        ),
        ({"width": [0.5, 1.0], "depth": [1, 2]}, {"student": {"model": "mobilevit"}}),
    ],
)
def test_a_cut_network_computes_what_the_sub_network_does(
    space: dict[str, Any], sections: Any
) -> None:
    networks = trained(make(space, **sections))
    for structure in structures(networks, 2):
        part = networks.part(structure)
        output = networks.forward(part, IMAGES)
        output.square().mean().backward()
        cut = networks.cut(structure)
        assert {key: value.shape for key, value in cut.state_dict().items()} == {
            key: value.shape
            for key, value in networks.blueprints.build(structure).state_dict().items()
        }
        with torch.no_grad():
            assert torch.allclose(cut.train()(IMAGES), output, atol=1e-5)
        gradients = [weight.grad for weight in networks.largest.parameters()]
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
        used = {piece.source for name, piece in part.slices.items() if "running" not in name}
        for name, weight in networks.largest.named_parameters():
            assert (weight.grad is not None) == (name in used)
            weight.grad = None


def test_the_largest_network_is_the_whole() -> None:
    networks = trained(make({"width": [0.5, 1.0]}, **BLOCKS))
    cut = networks.cut(networks.corners.largest)
    for name, tensor in networks.largest.state_dict().items():
        assert torch.equal(cut.state_dict()[name], tensor)
    smaller = networks.cut(networks.corners.smallest).state_dict()["head.weight"]
    assert torch.equal(smaller, networks.largest.head.weight[:, :8])


NETS = """
import torch
from torch import nn
from nested_nets import Table

def table(width):
    return Gray(Table(width))

class Gray(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, x):
        return self.inner(x.repeat(1, 3, 1, 1))

def torn(width):
    if width == 6:
        raise ValueError("six is unlucky")
    if width == 5:
        return Gray(nn.Sequential(nn.Flatten(), nn.Linear(768, 5), nn.ReLU(), nn.Linear(5, 10)))
    return table(width)
"""


def test_a_users_own_network_with_a_table_and_shared_weights(tmp_path: Path) -> None:
    (tmp_path / "own_nets.py").write_text(NETS, encoding="utf-8")
    own = {"student": {"model": "own_nets:table"}}
    networks = trained(make({"student.args.width": [4, 8]}, tmp_path, **own))
    part = networks.part({"student.args.width": 4})
    output = networks.forward(part, IMAGES)
    cut = networks.cut({"student.args.width": 4})
    assert cut.inner.order.tolist() == [3, 2, 1, 0]
    assert cut.inner.tied.weight is cut.inner.again.weight
    assert torch.allclose(cut(IMAGES), output, atol=1e-5)


def test_what_cannot_be_built_or_is_no_part_is_told_each_time(tmp_path: Path) -> None:
    (tmp_path / "torn_nets.py").write_text(NETS, encoding="utf-8")
    own = {"student": {"model": "torn_nets:torn"}}
    networks = make({"student.args.width": [4, 5, 6, 8]}, tmp_path, **own)
    for _ in range(2):
        with pytest.raises(InputError, match="with width=6: ValueError: six is unlucky"):
            networks.part({"student.args.width": 6})
        with pytest.raises(
            InputError, match=r"args.width=5: is no part of the largest network: inner: is"
        ):
            networks.part({"student.args.width": 5})


def test_parts_are_kept_for_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tvmkd.search.supernet.networks.KEPT", 2)
    assert KEPT > 10
    networks = make({"width": {"low": 0.5, "high": 1.5, "step": 0.5}}, **BLOCKS)
    first, second, third = ({"width": width} for width in (0.5, 1.0, 1.5))
    kept = networks.part(first)
    networks.part(second)
    assert networks.part(first) is kept
    networks.part(third)
    assert networks.part(first) is kept
    again = networks.part(second)
    assert networks.part(first) is not kept or again is not kept


def test_building_changes_no_random_state() -> None:
    networks = make({"width": [0.5, 1.0]}, **BLOCKS)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    networks.part({"width": 0.5})
    networks.cut({"width": 0.5})
    assert torch.equal(torch.rand(1), expected)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    with random_state_kept():
        random.seed(2)
        np.random.seed(2)  # noqa: NPY002
    assert random.random() == random.Random(1).random()
    assert np.random.random() == np.random.RandomState(1).random()  # noqa: NPY002


def test_parts_take_no_memory_for_weights() -> None:
    networks = make({"width": [0.5, 1.0]}, **BLOCKS)
    part = networks.part({"width": 0.5})
    assert all(weight.is_meta for weight in part.network.parameters())
    assert not any(buffer.is_meta for buffer in part.network.buffers())
    assert networks.cut({"width": 0.5}).head.weight.isfinite().all()
    tied = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    tied[1].weight = tied[0].weight
    tied[1].bias.requires_grad_(False)
    without_weights(tied)
    assert tied[1].weight is tied[0].weight
    assert [weight.requires_grad for weight in tied.parameters()] == [True, True, False]
