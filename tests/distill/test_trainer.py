from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small import small
from torch import nn

from tvmkd import data
from tvmkd.base.errors import InputError
from tvmkd.data import TensorImages
from tvmkd.distill import losses, trainer, training
from tvmkd.distill.curriculum import Curriculum
from tvmkd.distill.distributed import Team
from tvmkd.distill.latency import LatencyTerm
from tvmkd.distill.trainer import Job, fit
from tvmkd.distill.training import Settings
from tvmkd.models import checkpoint

ALONE = Team(0, 1, torch.device("cpu"))
SETTINGS = Settings(epochs=2, lr=1e-2, weight_decay=0.5, batch_size=64, seed=1)


@pytest.fixture(scope="module")
def splits():
    return data.load(small().data)


def job(path, **changes) -> Job:
    base = Job(
        name="student",
        model={"spec": "x", "kwargs": {}},
        loss=losses.cross_entropy,
        loss_id={"loss": "ce"},
        settings=SETTINGS,
        path=path,
    )
    return replace(base, **changes)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.3), nn.Linear(16, 10))


def quiet(done, note):
    pass


def test_reports_and_history(splits, tmp_path):
    seen = []
    state = fit(network(), splits, job(tmp_path / "a.pt"), ALONE, lambda *what: seen.append(what))
    assert [done for done, _ in seen] == [0, 1, 2]
    assert "validation" in seen[-1][1]
    assert [entry["epoch"] for entry in state.history] == [1, 2]
    assert state.history[1]["loss"] < state.history[0]["loss"]


def test_dropout_is_the_same_after_a_stop(splits, tmp_path):
    """The randomness of a model itself, not only of the data, goes on as if nothing happened."""
    whole = network()
    fit(whole, splits, job(tmp_path / "a.pt"), ALONE, quiet)

    class Stop(Exception):
        pass

    def stop(path, epoch, model):
        torch.rand(100)
        raise Stop

    with pytest.raises(Stop):
        fit(
            network(),
            splits,
            job(tmp_path / "b.pt", checkpoint_seconds=0, after_checkpoint=stop),
            ALONE,
            quiet,
        )
    resumed = network()
    fit(resumed, splits, job(tmp_path / "b.pt"), ALONE, quiet)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_every_batch_is_whole_and_no_image_comes_twice(splits):
    order = trainer._order(splits, job(None), 4, 0, ALONE)
    assert [len(batch) for batch in order] == [64] * 4
    assert len(torch.unique(torch.cat(order))) == 256
    assert not torch.equal(order[0], trainer._order(splits, job(None), 4, 1, ALONE)[0])


def test_a_team_shares_each_batch_out(splits):
    whole = trainer._order(splits, job(None), 4, 0, ALONE)
    parts = [
        trainer._order(splits, job(None), 4, 0, Team(rank, 3, torch.device("cpu")))
        for rank in range(3)
    ]
    for step in range(4):
        together = torch.cat([part[step] for part in parts])
        assert sorted(together.tolist()) == sorted(whole[step].tolist())


@pytest.mark.parametrize(("count", "steps"), [(10, 1), (64, 1), (127, 1), (128, 2)])
def test_steps_in_an_epoch(count, steps):
    few = TensorImages(torch.zeros(count, 1, 8, 8), torch.zeros(count).long(), [0.0], [1.0])
    assert trainer._steps(SimpleNamespace(train=few), SETTINGS, ALONE) == steps


def test_too_few_images_for_the_team():
    few = TensorImages(torch.zeros(3, 1, 8, 8), torch.zeros(3).long(), [0.0], [1.0])
    with pytest.raises(InputError, match="3 training images on 2 processes"):
        trainer._steps(SimpleNamespace(train=few), SETTINGS, Team(0, 2, torch.device("cpu")))


def test_the_learning_rate_goes_up_then_down():
    rates = [training.schedule(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == 1.0
    assert rates.index(1.0) == 4
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_biases_and_norms_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    decayed, free = training.groups(list(model.parameters()), 0.5)
    assert [weight.ndim for weight in decayed["params"]] == [4]
    assert decayed["weight_decay"] == 0.5
    assert [weight.ndim for weight in free["params"]] == [1, 1, 1]
    assert free["weight_decay"] == 0.0


def test_the_latency_term_is_part_of_the_loss(splits, tmp_path):
    term = LatencyTerm(lambda model: model[1].weight.square().sum(), 100.0)
    pulled, free = network(), network()
    fit(pulled, splits, job(tmp_path / "a.pt", latency=term), ALONE, quiet)
    fit(free, splits, job(tmp_path / "b.pt"), ALONE, quiet)
    sizes = [model[1].weight.detach().norm().item() for model in (pulled, free)]
    assert sizes[0] < 0.95 * sizes[1]


def test_nan_in_the_data_ends_it(tmp_path, splits):
    spoiled = TensorImages(
        torch.full((64, 1, 8, 8), torch.nan), torch.zeros(64).long(), [0.0], [1.0]
    )
    with pytest.raises(InputError, match=r"student: the loss is nan in batch 1 of 1 of epoch 1"):
        fit(network(), replace(splits, train=spoiled), job(tmp_path / "a.pt"), ALONE, quiet)
    assert not (tmp_path / "a.pt").exists()


def test_a_loss_that_breaks_late_keeps_the_last_good_checkpoint(tmp_path, splits):
    def loss(batch, logits):
        broken = batch.progress >= 0.5 and 7 in batch.indices.tolist()
        return losses.cross_entropy(batch, logits) * (torch.nan if broken else 1.0)

    path = tmp_path / "a.pt"
    with pytest.raises(
        InputError, match=r"in batch \d+ of \d+ of epoch 2 \(training images"
    ) as told:
        fit(network(), splits, job(path, loss=loss, checkpoint_seconds=0.0), ALONE, quiet)
    assert str(path) in str(told.value)
    kept = checkpoint.load(path)
    assert kept.epoch == 1
    assert all(torch.isfinite(tensor).all() for tensor in kept.state.values())


class Scaled(nn.Module):
    """A loss with a weight of its own."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, batch, logits):
        hard = losses.cross_entropy(batch, logits)
        return self.log_scale.exp() * hard + self.log_scale.pow(2)


def test_the_weights_of_a_loss_are_trained_and_go_on_after_a_stop(splits, tmp_path):
    whole, loss = network(), Scaled()
    fit(whole, splits, job(tmp_path / "a.pt", loss=loss), ALONE, quiet)
    assert loss.log_scale.item() != 0.0

    class Stop(Exception):
        pass

    def stop(path, epoch, model):
        raise Stop

    halves, again = network(), Scaled()
    settings = {"loss": again, "checkpoint_seconds": 0.0}
    with pytest.raises(Stop):
        fit(halves, splits, job(tmp_path / "b.pt", after_checkpoint=stop, **settings), ALONE, quiet)
    halves, again = network(), Scaled()
    fit(halves, splits, job(tmp_path / "b.pt", loss=again), ALONE, quiet)
    torch.testing.assert_close(again.log_scale, loss.log_scale)
    torch.testing.assert_close(halves.state_dict(), whole.state_dict())


def test_a_curriculum_chooses_what_an_epoch_draws_from(splits, tmp_path):
    count = len(splits.train.labels)
    sure = torch.linspace(1, 0, count)
    seen = []

    def loss(batch, logits):
        seen.append((batch.progress, batch.indices))
        return losses.cross_entropy(batch, logits)

    pacing = Curriculum(sure, "linear", start=0.25, full_at=0.5)
    fit(network(), splits, job(tmp_path / "a.pt", loss=loss, curriculum=pacing), ALONE, quiet)
    first = torch.cat([indices for progress, indices in seen if progress < 0.5])
    second = torch.cat([indices for progress, indices in seen if progress >= 0.5])
    assert int(first.max()) < round(0.25 * count)
    assert int(second.max()) > count // 2
    assert len(first) == len(second)


def test_images_are_augmented_as_a_plain_loop_would(splits, tmp_path):
    """Checkpoints of trainings that did it in the loop are gone on from."""
    seen = []

    def loss(batch, logits):
        seen.append(batch.images)
        return losses.cross_entropy(batch, logits)

    fit(network(), splits, job(tmp_path / "a.pt", loss=loss), ALONE, quiet)
    plain = []
    for epoch in range(SETTINGS.epochs):
        generator = training.seed_epoch(SETTINGS.seed, epoch, ALONE)
        order = trainer._order(splits, job(None), 4, epoch, ALONE)
        plain += [splits.augment(splits.train.get(indices), generator) for indices in order]
    assert len(seen) == len(plain) == 8
    assert all(torch.equal(a, b) for a, b in zip(seen, plain, strict=True))


@pytest.mark.parametrize("ends", [InputError, KeyboardInterrupt])
def test_a_training_that_ends_early_leaves_no_thread(splits, tmp_path, ends):
    def loss(batch, logits):
        if batch.progress > 0.5:
            raise ends("enough")
        return losses.cross_entropy(batch, logits)

    with pytest.raises(ends, match="enough"):
        fit(network(), splits, job(tmp_path / "a.pt", loss=loss), ALONE, quiet)
    assert not any(thread.name.startswith("tvmkd-batch") for thread in threading.enumerate())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
def test_mixed_precision_on_a_gpu(splits, tmp_path):
    seen = []

    def loss(batch, logits):
        seen.append(logits.dtype)
        return losses.cross_entropy(batch, logits)

    team = Team(0, 1, torch.device("cuda", 0))
    state = fit(network(), splits, job(tmp_path / "a.pt", loss=loss), team, quiet)
    assert set(seen) <= {torch.bfloat16, torch.float16}
    assert all(tensor.dtype == torch.float32 for tensor in state.state.values())
