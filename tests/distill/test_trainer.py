from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from small import small
from torch import nn

from tvmkd import models
from tvmkd.base import user_code
from tvmkd.base.errors import InputError
from tvmkd.data import TensorImages
from tvmkd.distill import losses
from tvmkd.distill.classification import ClassificationTask
from tvmkd.distill.curriculum import Curriculum
from tvmkd.distill.distributed import ALONE, Team
from tvmkd.distill.latency import LatencyTerm
from tvmkd.distill.trainer import Trainer, make_epoch, steps_in_epoch
from tvmkd.distill.training import Job, Momentum, Settings
from tvmkd.models import branched, checkpoint

SETTINGS = Settings(epochs=2, lr=1e-2, weight_decay=0.5, batch_size=64, seed=1)


@pytest.fixture(scope="module")
def task():
    return ClassificationTask(small())


def fit(network, task, job, report=None, team=ALONE):
    return Trainer(task, team).fit(network, job, report)


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


class Detached(nn.Module):
    def forward(self, outputs):
        return outputs.detach()


class NanGradient(nn.Module):
    """Changes no value, and the slope of the root at 0 is infinite, times 0."""

    def forward(self, outputs):
        return outputs + torch.sqrt(outputs * 0)


def order(number=0, team=ALONE, **changes):
    epoch = make_epoch(job(None, **changes), 256, 4, number, team)
    return [epoch.own(batch) for batch in epoch.order]


def test_reports_and_history(task, tmp_path):
    seen = []
    state = fit(network(), task, job(tmp_path / "a.pt"), lambda *what: seen.append(what))
    assert [done for done, _ in seen] == [0, 1, 2]
    assert "validation" in seen[-1][1]
    assert [entry["epoch"] for entry in state.history] == [1, 2]
    assert state.history[1]["loss"] < state.history[0]["loss"]


def test_dropout_is_the_same_after_a_stop(task, tmp_path):
    """The randomness of a model itself, not only of the data, goes on as if nothing happened."""
    whole = network()
    fit(whole, task, job(tmp_path / "a.pt"))

    class Stop(Exception):
        pass

    def stop(path, epoch, model):
        torch.rand(100)
        raise Stop

    with pytest.raises(Stop):
        fit(
            network(),
            task,
            job(tmp_path / "b.pt", checkpoint_seconds=0, after_checkpoint=stop),
        )
    resumed = network()
    fit(resumed, task, job(tmp_path / "b.pt"))
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_network_with_branches_resumes_and_its_file_holds_the_fused_one(task, tmp_path):
    args = {"stem": 8, "blocks": [[8, 1]]}

    def made():
        torch.manual_seed(0)
        return branched.add(models.build("depthwise", **args), task.input_shape, 2, seed=1)

    whole = made()
    state = fit(whole, task, job(tmp_path / "a.pt", checkpoint_seconds=0))

    class Stop(Exception):
        pass

    def stop(path, epoch, model):
        assert branched.present(model)
        raise Stop

    with pytest.raises(Stop):
        fit(made(), task, job(tmp_path / "b.pt", checkpoint_seconds=0, after_checkpoint=stop))
    resumed = made()
    fit(resumed, task, job(tmp_path / "b.pt"))
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), atol=0, rtol=0)
    plain = models.build("depthwise", **args)
    plain.load_state_dict(checkpoint.load(tmp_path / "b.pt").state)
    torch.testing.assert_close(plain.state_dict(), state.state, atol=0, rtol=0)
    images = torch.rand(4, *task.input_shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(images), whole.eval()(images), atol=1e-4, rtol=1e-3)


def test_every_batch_is_whole_and_no_image_comes_twice():
    found = order()
    assert [len(batch) for batch in found] == [64] * 4
    assert len(torch.unique(torch.cat(found))) == 256


def test_each_epoch_and_each_seed_shuffles_differently():
    """Epochs 0 and 1 of one seed, and epoch 0 of two seeds, share no order."""
    orders = [order(), order(1), order(settings=replace(SETTINGS, seed=2))]
    assert torch.equal(order()[0], orders[0][0])
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(orders[one][0], orders[other][0])


def test_each_epoch_seeds_what_networks_and_augmentation_draw():
    draws = []
    for number, rank in ((0, 0), (0, 0), (1, 0), (0, 1)):
        epoch = make_epoch(job(None), 256, 4, number, Team(rank, 2, torch.device("cpu")))
        draws.append((float(torch.rand(1)), float(torch.rand(1, generator=epoch.generator))))
    assert draws[0] == draws[1]
    assert draws[2][0] != draws[0][0]
    assert draws[2][1] != draws[0][1]
    # Dropout differs between processes, the changes to images do not.
    assert draws[3][0] != draws[0][0]
    assert draws[3][1] == draws[0][1]


def test_views_come_in_turn_or_are_always_new():
    def views(seed, variants):
        made = job(None, settings=replace(SETTINGS, seed=seed, epochs=5), variants=variants)
        return [make_epoch(made, 256, 4, number, ALONE).view for number in range(5)]

    assert views(3, 2) == [0, 1, 0, 1, 0]
    assert not set(views(0, 0)) & set(views(1, 0))
    assert len(set(views(1, 0))) == 5


def test_a_team_shares_each_batch_out():
    whole = order()
    parts = [order(team=Team(rank, 4, torch.device("cpu"))) for rank in range(4)]
    for step in range(4):
        assert [len(part[step]) for part in parts] == [16] * 4
        together = torch.cat([part[step] for part in parts])
        assert sorted(together.tolist()) == sorted(whole[step].tolist())


@pytest.mark.parametrize(("count", "steps"), [(10, 1), (64, 1), (65, 1), (127, 1), (128, 2)])
def test_a_last_smaller_batch_is_left_out_unless_it_is_the_only_one(count, steps):
    """Batch normalisation cannot train on a batch of one, which 65 images would leave."""
    assert steps_in_epoch(count, 64, ALONE) == steps


@pytest.mark.parametrize(
    ("count", "size", "processes", "message"),
    [
        (3, 64, 2, "batch_size 64 with 3 training images on 2 processes leaves less than 2"),
        (256, 3, 2, "batch_size 3 with 256 training images on 2 processes leaves less than 2"),
        (1, 64, 1, "1 training images on 1 processes leaves less than 2"),
        (256, 7, 2, "set batch_size to a multiple of 2, at most 256"),
        (33, 64, 2, "set batch_size to a multiple of 2, at most 33"),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(count, size, processes, message):
    with pytest.raises(InputError, match=message):
        steps_in_epoch(count, size, Team(0, processes, torch.device("cpu")))


def test_the_latency_term_is_part_of_the_loss(task, tmp_path):
    term = LatencyTerm(lambda model: model[1].weight.square().sum(), 100.0)
    pulled, free = network(), network()
    fit(pulled, task, job(tmp_path / "a.pt", latency=term))
    fit(free, task, job(tmp_path / "b.pt"))
    sizes = [model[1].weight.detach().norm().item() for model in (pulled, free)]
    assert sizes[0] < 0.95 * sizes[1]


def test_nan_in_the_data_ends_it(tmp_path, task):
    spoiled = TensorImages(
        torch.full((64, 1, 8, 8), torch.nan), torch.zeros(64).long(), [0.0], [1.0]
    )
    broken = ClassificationTask(task.cfg, splits=replace(task.splits, train=spoiled))
    with pytest.raises(InputError, match=r"student: the loss is nan in batch 1 of 1 of epoch 1"):
        fit(network(), broken, job(tmp_path / "a.pt"))
    assert not (tmp_path / "a.pt").exists()


def test_a_loss_that_breaks_late_keeps_the_last_good_checkpoint(tmp_path, task):
    def loss(batch, logits):
        broken = batch.progress >= 0.5 and 7 in batch.indices.tolist()
        return losses.cross_entropy(batch, logits) * (torch.nan if broken else 1.0)

    path = tmp_path / "a.pt"
    with pytest.raises(
        InputError, match=r"in batch \d+ of \d+ of epoch 2 \(training images"
    ) as told:
        fit(network(), task, job(path, loss=loss, checkpoint_seconds=0.0))
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


def test_the_weights_of_a_loss_are_trained_and_go_on_after_a_stop(task, tmp_path):
    whole, loss = network(), Scaled()
    fit(whole, task, job(tmp_path / "a.pt", loss=loss))
    assert loss.log_scale.item() != 0.0

    class Stop(Exception):
        pass

    def stop(path, epoch, model):
        raise Stop

    halves, again = network(), Scaled()
    settings = {"loss": again, "checkpoint_seconds": 0.0}
    with pytest.raises(Stop):
        fit(halves, task, job(tmp_path / "b.pt", after_checkpoint=stop, **settings))
    halves, again = network(), Scaled()
    fit(halves, task, job(tmp_path / "b.pt", loss=again))
    torch.testing.assert_close(again.log_scale, loss.log_scale)
    torch.testing.assert_close(halves.state_dict(), whole.state_dict())


def test_an_early_stop_ends_where_the_whole_training_was_then(task, tmp_path):
    states = {}

    def keep(path, epoch, model):
        states[epoch] = {name: part.clone() for name, part in model.state_dict().items()}

    whole = {"after_checkpoint": keep, "checkpoint_seconds": 0.0}
    fit(network(), task, job(tmp_path / "a.pt", **whole))
    stopped = replace(SETTINGS, stop=1)
    state = fit(network(), task, job(tmp_path / "b.pt", settings=stopped))
    assert state.epoch == checkpoint.load(tmp_path / "b.pt").epoch == 1
    torch.testing.assert_close(state.state, states[1], atol=0, rtol=0)
    assert "val_accuracy" in state.history[-1]


class TwoParts:
    """A loss on labels and one on the size of the logits, as its distillation."""

    divided = True

    def __call__(self, batch, logits):
        return sum(self.parts(batch, logits))

    def parts(self, batch, logits):
        return losses.cross_entropy(batch, logits), logits.square().mean()


def test_dot_trains_on_both_parts_of_a_loss(task, tmp_path):
    ends = {}
    for name, delta in (("sgd", None), ("none", 0.0), ("dot", 0.09)):
        settings = replace(SETTINGS, lr=0.05, sgd=Momentum(0.9, delta))
        state = fit(network(), task, job(tmp_path / name, settings=settings, loss=TwoParts()))
        ends[name] = state.state["1.weight"]
    torch.testing.assert_close(ends["sgd"], ends["none"])
    assert not torch.allclose(ends["dot"], ends["sgd"], atol=1e-3)


def test_a_curriculum_chooses_what_an_epoch_draws_from(task, tmp_path):
    count = task.count("train")
    sure = torch.linspace(1, 0, count)
    seen = []

    def loss(batch, logits):
        seen.append((batch.progress, batch.indices))
        return losses.cross_entropy(batch, logits)

    pacing = Curriculum(sure, "linear", start=0.25, full_at=0.5)
    fit(network(), task, job(tmp_path / "a.pt", loss=loss, curriculum=pacing))
    first = torch.cat([indices for progress, indices in seen if progress < 0.5])
    second = torch.cat([indices for progress, indices in seen if progress >= 0.5])
    assert int(first.max()) < round(0.25 * count)
    assert int(second.max()) > count // 2
    assert len(first) == len(second)


def test_images_are_augmented_as_a_plain_loop_would(task, tmp_path):
    """Checkpoints of trainings that did it in the loop can be resumed."""
    seen = []

    def loss(batch, logits):
        seen.append(batch.images)
        return losses.cross_entropy(batch, logits)

    fit(network(), task, job(tmp_path / "a.pt", loss=loss))
    plain = []
    for epoch in range(SETTINGS.epochs):
        made = make_epoch(job(None), 256, 4, epoch, ALONE)
        splits = task.splits
        plain += [splits.augment(splits.train.get(picks), made.generator) for picks in made.order]
    assert len(seen) == len(plain) == 8
    assert all(torch.equal(a, b) for a, b in zip(seen, plain, strict=True))


@pytest.mark.parametrize("ends", [InputError, KeyboardInterrupt])
def test_a_training_that_ends_early_leaves_no_thread(task, tmp_path, ends):
    def loss(batch, logits):
        if batch.progress > 0.5:
            raise ends("enough")
        return losses.cross_entropy(batch, logits)

    with pytest.raises(ends, match="enough"):
        fit(network(), task, job(tmp_path / "a.pt", loss=loss))
    assert not any(thread.name.startswith("tvmkd-batch") for thread in threading.enumerate())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
def test_mixed_precision_on_a_gpu(task, tmp_path):
    seen = []

    def loss(batch, logits):
        seen.append(logits.dtype)
        return losses.cross_entropy(batch, logits)

    team = Team(0, 1, torch.device("cuda", 0))
    state = fit(network(), task, job(tmp_path / "a.pt", loss=loss), team=team)
    assert set(seen) <= {torch.bfloat16, torch.float16}
    assert all(tensor.dtype == torch.float32 for tensor in state.state.values())


class Failing(nn.Linear):
    """Raises in training, as code of a user's may."""

    def forward(self, images):
        if self.training:
            raise KeyError("my own bug")
        return super().forward(images.flatten(1))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Failing(64, 10), "student: KeyError: 'my own bug'"),
        (lambda: network().requires_grad_(False), "student: none of its weights needs a gradient"),
        (lambda: nn.Sequential(network(), Detached()), "student: its loss does not depend on"),
    ],
)
def test_a_users_network_that_cannot_be_trained_is_one_line(task, tmp_path, made, message):
    theirs = job(tmp_path / "a.pt", model={"spec": "mine:net", "kwargs": {}})
    with pytest.raises(InputError) as caught:
        fit(made(), task, theirs)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.pt").exists()


def test_a_fault_in_a_network_of_ours_is_not_the_users(task, tmp_path, monkeypatch):
    monkeypatch.setattr(user_code, "_FOLDERS", set())
    with pytest.raises(KeyError):
        fit(Failing(64, 10), task, job(tmp_path / "a.pt"))


def test_a_gradient_of_nan_moves_nothing_and_writes_nothing(task, tmp_path):
    model = nn.Sequential(network(), NanGradient())
    before = [weight.clone() for weight in model.parameters()]
    one = replace(SETTINGS, epochs=1, batch_size=2048)
    with pytest.raises(InputError, match="the gradient's norm is nan in batch 1 of 1"):
        fit(model, task, job(tmp_path / "a.pt", settings=one))
    assert not (tmp_path / "a.pt").exists()
    for old, new in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(old, new.detach())
