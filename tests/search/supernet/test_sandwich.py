from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import spaces
import torch
from torch import Tensor, nn

from tvmkd.distill import losses
from tvmkd.distill.task import Batch
from tvmkd.search.supernet import corners
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.networks import Networks
from tvmkd.search.supernet.sandwich import Sandwich, resized

BLOCKS = {"student": {"args": {"stem": 8, "blocks": [[8, 1], [16, 2], [16, 1]]}}}
SPACE = {"width": {"low": 0.5, "high": 2.0, "step": 0.5}, "resolution": [8, 16]}


def make(space: dict[str, Any], search_in: Path | None = None, **sections: Any) -> Networks:
    made = spaces.make(space, search_in, **{**BLOCKS, **sections})
    blueprints = Blueprints(made.cfg, made)
    ends = corners.find(blueprints)
    return Networks(blueprints, ends, blueprints.build(ends.largest))


@pytest.fixture
def networks() -> Networks:
    return make(SPACE)


def batch(progress: float = 0.25) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 1, 16, 16, generator=generator)
    return Batch(images, torch.arange(8), torch.arange(8), progress)


def drawn(networks: Networks, progress: float, seed: int = 0, samples: int = 6) -> list[int]:
    parts = Sandwich(networks, losses.cross_entropy, samples, seed).draw(progress)
    return [part.network.head.in_features * part.task.input_shape[-1] for part in parts]


def test_draws_depend_on_the_seed_and_the_progress_alone(networks: Networks) -> None:
    first = drawn(networks, 0.25)
    torch.rand(3)
    assert drawn(make(SPACE), 0.25) == first
    assert drawn(networks, 0.25 + 1e-6) != first
    assert drawn(networks, 0.25, seed=1) != first
    assert len(set(first)) > 1


def test_the_smallest_and_drawn_networks_learn_what_the_largest_answers(
    networks: Networks,
) -> None:
    sandwich = Sandwich(networks, losses.cross_entropy, 2, 0)
    now = batch()
    output = networks.largest(now.images)
    total = sandwich(now, output)
    smallest = networks.part(networks.corners.smallest)
    expected = losses.cross_entropy(now, output)
    for part in (smallest, *sandwich.draw(now.progress)):
        images = resized(now.images, part.task.input_shape)
        expected = expected + losses.imitation(networks.forward(part, images), output)
    assert torch.allclose(total, expected / 4)
    total.backward()
    # All learn: the labels reach the channels that only the largest has.
    gradient = networks.largest.head.weight.grad
    assert gradient is not None
    assert bool((gradient.abs().sum(0) > 0).all())


def test_imitating_teaches_the_largest_nothing(networks: Networks) -> None:
    sandwich = Sandwich(networks, lambda batch, output: 0.0 * output.sum(), 0, 0)
    output = networks.largest(batch().images)
    sandwich(batch(), output).backward()
    width = networks.part(networks.corners.smallest).network.head.in_features
    gradient = networks.largest.head.weight.grad
    assert gradient is not None
    assert bool((gradient[:, :width] != 0).any())
    assert bool((gradient[:, width:] == 0).all())


def test_weights_of_the_largest_networks_loss_are_trained_and_it_is_closed(
    networks: Networks,
) -> None:
    class Weighted(nn.Module):
        closed = False

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, batch: Batch, output: Tensor) -> Tensor:
            return self.scale * output.mean()

        def close(self) -> None:
            self.closed = True

    own = Weighted()
    sandwich = Sandwich(networks, own, 1, 0)
    assert list(sandwich.parameters()) == [own.scale]
    sandwich.close()
    assert own.closed
    Sandwich(networks, losses.cross_entropy, 1, 0).close()


def test_a_task_without_imitation_teaches_labels(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (8, 16):
        task = networks.blueprints.task({"width": 0.5, "resolution": size})
        monkeypatch.setattr(task, "imitation", lambda: None)
    sandwich, now = Sandwich(networks, losses.cross_entropy, 0, 0), batch()
    output = networks.largest(now.images)
    smallest = networks.part(networks.corners.smallest)
    images = resized(now.images, (1, 1, 8, 8))
    other = losses.cross_entropy(now, networks.forward(smallest, images))
    assert torch.allclose(sandwich(now, output), (losses.cross_entropy(now, output) + other) / 2)


def test_images_are_resized_only_where_they_must_be() -> None:
    images = torch.rand(2, 1, 16, 16)
    assert resized(images, (1, 1, 16, 16)) is images
    assert resized(images, (1, 1, 8, 4)).shape == (2, 1, 8, 4)
    assert torch.allclose(resized(torch.ones(1, 1, 16, 16), (1, 1, 8, 8)), torch.ones(1, 1, 8, 8))


NETS = """
from torch import nn

def picky(width):
    if width in (5, 6, 7):
        raise ValueError("unlucky")
    return nn.Sequential(nn.Flatten(), nn.Linear(256, width), nn.Linear(width, 10))
"""


def test_networks_that_cannot_be_built_are_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "picky_nets.py").write_text(NETS, encoding="utf-8")
    own = {"student": {"model": "picky_nets:picky"}}
    networks = make({"student.args.width": [4, 5, 6, 7, 8]}, tmp_path, **own)
    parts = Sandwich(networks, losses.cross_entropy, 10, 0).draw(0.5)
    assert {part.network[1].out_features for part in parts} == {4, 8}
    unlucky = {"student.args.width": 5}
    monkeypatch.setattr(networks.blueprints.space, "draw", lambda rng: unlucky)
    (part,) = Sandwich(networks, losses.cross_entropy, 1, 0).draw(0.5)
    assert part.network[1].out_features == 4, "the smallest one, which can be built"
