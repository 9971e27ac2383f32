from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small
from torch import Tensor, nn

from tvmkd.distill import losses
from tvmkd.distill.classification import ClassificationTask
from tvmkd.distill.trainer import Trainer
from tvmkd.distill.training import Job, Settings
from tvmkd.distill.weight_average import WeightAverage, decay
from tvmkd.models import checkpoint

SETTINGS = Settings(epochs=3, lr=1e-2, weight_decay=0.5, batch_size=64, seed=1, ema=0.9)


class Net(nn.Module):
    """Has all that an average must leave alone."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 10)
        )
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("mask", torch.full((2,), -torch.inf))

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layers(images)
        return found


def job(path: Path, **changes: Any) -> Job:
    made = Job(
        name="student",
        model={"spec": "x", "kwargs": {}},
        loss=losses.cross_entropy,
        loss_id={"loss": "ce"},
        settings=SETTINGS,
        path=path,
        checkpoint_seconds=0.0,
    )
    return replace(made, **changes)


@pytest.fixture(scope="module")
def task() -> ClassificationTask:
    return ClassificationTask(small())


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_decay_rises_to_the_highest() -> None:
    assert decay(0, 0.999) == pytest.approx(0.1)
    assert decay(90, 0.999) == pytest.approx(0.91)
    assert decay(10**6, 0.999) == 0.999


def test_the_average_is_that_of_the_formula() -> None:
    """By hand: from 0, weights 1, 2 and 4 with the decays 1/10, 2/11 and the highest, 1/5."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = WeightAverage(network, 0.2)
    for step, value in enumerate((1.0, 2.0, 4.0)):
        nn.init.constant_(network.weight, value)
        average.update(step)
    first = 0.9 * 1.0
    second = 2 / 11 * first + 9 / 11 * 2.0
    with average.applied():
        assert network.weight.item() == pytest.approx(0.2 * second + 0.8 * 4.0)
    assert network.weight.item() == 4.0


def test_statistics_are_averaged_and_masks_counters_and_frozen_weights_are_not() -> None:
    network = Net()
    average = WeightAverage(network, 0.9)
    norm = network.layers[2]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.num_batches_tracked is not None
    with torch.no_grad():
        norm.running_mean.fill_(10.0)
        norm.num_batches_tracked.fill_(7)
        network.frozen.fill_(5.0)
    average.update(0)
    with average.applied():
        assert norm.running_mean[0].item() == pytest.approx(9.0)
        assert norm.num_batches_tracked.item() == 7
        assert network.frozen[0].item() == 5.0
        assert bool((network.mask == -torch.inf).all())


def test_views_of_the_weights_follow(task: ClassificationTask) -> None:
    """As those of a supernet's parts."""
    network = nn.Linear(2, 2)
    part = network.weight[:1]
    average = WeightAverage(network, 0.9)
    nn.init.constant_(network.weight, 3.0)
    with average.applied():
        assert torch.equal(part, network.weight[:1])
        assert part[0, 0].item() != 3.0


def test_the_network_and_the_checkpoint_get_the_average_which_is_what_is_scored(
    task: ClassificationTask, tmp_path: Path
) -> None:
    averaged, plain = Net(), Net()
    state = Trainer(task).fit(averaged, job(tmp_path / "a.pt"))
    Trainer(task).fit(plain, job(tmp_path / "b.pt", settings=replace(SETTINGS, ema=0.0)))
    assert not torch.equal(averaged.layers[1].weight, plain.layers[1].weight)
    saved = checkpoint.load(tmp_path / "a.pt")
    assert equal(saved.state, dict(averaged.state_dict()))
    assert equal(state.state, saved.state)
    assert state.history[-1]["val_accuracy"] == task.score(averaged, "val")
    # A finished training is read as it was saved.
    again = Net()
    Trainer(task).fit(again, job(tmp_path / "a.pt"))
    assert equal(dict(again.state_dict()), saved.state)


def test_a_training_that_was_killed_ends_in_the_same_average(
    task: ClassificationTask, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    halfway: list[dict[str, Tensor]] = []

    def stop(path: Path, epoch: int, network: nn.Module) -> None:
        halfway.append(copy.deepcopy(dict(network.state_dict())))
        if epoch == 2:
            raise Stop

    whole, resumed = Net(), Net()
    Trainer(task).fit(whole, job(tmp_path / "a.pt"))
    with pytest.raises(Stop):
        Trainer(task).fit(Net(), job(tmp_path / "b.pt", after_checkpoint=stop))
    # Whoever looks at an unfinished training sees the average, too.
    assert equal(checkpoint.load(tmp_path / "b.pt").state, halfway[1])
    Trainer(task).fit(resumed, job(tmp_path / "b.pt"))
    assert equal(dict(whole.state_dict()), dict(resumed.state_dict()))


def test_the_identity_has_it_only_where_it_is_on(task: ClassificationTask) -> None:
    assert "ema" not in replace(SETTINGS, ema=0.0).identity()
    known = {
        job(Path("a.pt"), settings=replace(SETTINGS, ema=ema)).identity(task, 1)
        for ema in (0.0, 0.9, 0.99)
    }
    assert len(known) == 3
