from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import small
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.data import TensorImages
from tvmkd.distill import losses
from tvmkd.distill.classification import ClassificationTask
from tvmkd.distill.distributed import ALONE, Team
from tvmkd.distill.task import Batch, Epoch


@pytest.fixture(scope="module")
def task() -> ClassificationTask:
    return ClassificationTask(small())


class Brightest(nn.Module):
    """Says class 1 where the one pixel is positive; in training mode always class 0."""

    def forward(self, x):
        positive = x.flatten(1)[:, :1] * (0.0 if self.training else 1.0)
        return torch.cat([torch.zeros_like(positive) + 1e-6, positive], 1)


@pytest.fixture
def bright(task) -> ClassificationTask:
    pixels = torch.tensor([1.0, -1, 1, -1, 1, 1, 1]).view(-1, 1, 1, 1)
    images = TensorImages(pixels, torch.tensor([1, 0, 0, 0, 1, 1, 1]), [0.0], [1.0])
    return ClassificationTask(task.cfg, splits=replace(task.splits, test=images))


def test_accuracy_counts_right_answers_in_evaluation_mode(bright) -> None:
    assert bright.evaluate(Brightest().train(), "test") == {"accuracy": pytest.approx(6 / 7)}


def test_each_process_evaluates_its_share_and_knows_the_whole(bright, monkeypatch) -> None:
    shares = []
    monkeypatch.setattr(Team, "gather", lambda self, values: shares.append(values) or values)
    for rank in (0, 1):
        bright.predict(Brightest().eval(), "test", Team(rank, 2, torch.device("cpu")))
    assert shares == [[(0, 1), (2, 1), (4, 1), (6, 1)], [(1, 0), (3, 0), (5, 1)]]
    monkeypatch.setattr(Team, "gather", lambda self, values: shares[1] + shares[0])
    assert bright.measure(nn.Identity(), Brightest().eval(), "test") == {
        "accuracy": pytest.approx(6 / 7)
    }


def batches(task: ClassificationTask, team: Team) -> list:
    order = list(torch.split(torch.arange(32), 8))
    generator = torch.Generator().manual_seed(4)
    return list(task.batches(Epoch(order, 0, 1, generator, 0, team)))


@pytest.mark.parametrize("augment", ["none", "affine", "camera"])
def test_processes_share_the_images_that_one_would_train_on(augment) -> None:
    """How many random numbers a camera draws depends on the images of the whole batch."""
    task = ClassificationTask(small(data={"augment": augment}))
    whole = batches(task, ALONE)
    parts = [batches(task, Team(rank, 2, torch.device("cpu"))) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        for rank in (0, 1):
            part = parts[rank][step]
            assert torch.equal(part.images, batch.images[rank::2])
            assert torch.equal(part.labels, batch.labels[rank::2])
            assert torch.equal(part.indices, batch.indices[rank::2])


def test_the_loss_is_known_by_its_teacher(tmp_path) -> None:
    task = ClassificationTask(small(distill={"curriculum": "root"}))
    student = task.build("mlp", task.arguments("mlp", {}), "student", 0)
    found = []
    for seed in (0, 0, 1):
        teacher = task.build("mlp", task.arguments("mlp", {}), "teacher", seed)
        made = task.distillation(student, teacher, tmp_path, ALONE)
        made.loss.close()
        assert made.curriculum is not None
        found.append(made.identity)
    assert found[0] == found[1] != found[2]
    assert not {"epochs", "loss_args", "code"} & set(found[0])


def test_identities_are_those_of_earlier_checkpoints(task) -> None:
    """A finished training of an earlier version is not done again."""
    facts = {"augment": repr(task.splits.augment), "data": task.sha256, "latency_weight": 0.0}
    assert task.identity() == facts


def test_students_may_have_fewer_images_than_their_teacher(task) -> None:
    few = ClassificationTask(small(student={"images": 20}))
    assert few.count("train") == 20
    assert torch.bincount(few.splits.train.labels).tolist() == [2] * 10
    assert few.sha256 != task.sha256
    assert few.for_teacher().count("train") == task.count("train")
    assert few.for_teacher().identity() == task.identity()
    with pytest.raises(InputError, match="images is 999, but the training split has 256"):
        ClassificationTask(small(student={"images": 999}))


def test_a_teacher_may_have_an_augmentation_of_its_own(task) -> None:
    assert task.for_teacher() is task
    own = ClassificationTask(small(teacher={"augment": "camera"}))
    assert "full_well" in own.for_teacher().identity()["augment"]
    assert own.for_teacher().splits.train is own.splits.train
    assert own.identity() == task.identity()


def test_the_teachers_task_is_of_the_same_class() -> None:
    class Own(ClassificationTask):
        pass

    task = Own(small(student={"images": 20}))
    assert type(task.for_teacher()) is Own
    assert task.count("train") == 20 < task.for_teacher().count("train")


def test_classifiers_imitate_probabilities(task) -> None:
    assert task.imitation() is losses.imitation


def test_a_shortened_split_is_even_by_class_and_the_others_stay(task) -> None:
    short = task.shortened("val", 20)
    assert torch.bincount(short.splits.val.labels).tolist() == [2] * 10
    assert (short.count("val"), short.count("train")) == (20, task.count("train"))
    assert task.count("val") > 20
    assert task.shortened("val", 10_000) is task


@pytest.fixture(scope="module")
def linear(task) -> nn.Module:
    """The least-squares classifier of the digits, sure of its answers."""
    images = task.splits.train.get(torch.arange(task.count("train")))
    labels = task.splits.train.labels
    pixels = torch.cat([images.flatten(1), torch.ones(len(images), 1)], 1)
    wanted = torch.nn.functional.one_hot(labels, 10).float()
    found = torch.linalg.solve(pixels.T @ pixels + 5 * torch.eye(65), pixels.T @ wanted)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False).eval()
    network[1].weight.copy_(30 * found[:-1].T)
    network[1].bias.copy_(30 * found[-1])
    return network


def reordered(network: nn.Module, order: list[int]) -> nn.Module:
    changed = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False).eval()
    changed[1].weight.copy_(network[1].weight[order])
    changed[1].bias.copy_(network[1].bias[order])
    return changed


def doubt(task, network, given=True) -> str | None:
    return task.doubt(network, task.score(network, "test"), ALONE, given=given)


def test_a_teacher_with_its_classes_in_another_order_is_told(task, linear) -> None:
    assert task.score(linear, "val") > 0.8
    assert doubt(task, linear) is None
    told = doubt(task, reordered(linear, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]))
    assert told is not None
    assert 'output 0 is "1", output 1 is "2", output 2 is "3" and 7 more' in told
    right = task.score(linear, "val")
    assert f"it would have {right:.1%} of the validation images right" in told
    # Two classes that are exchanged leave most answers right: far above chance.
    told = doubt(task, reordered(linear, [0, 1, 2, 7, 4, 5, 6, 3, 8, 9]))
    assert told is not None
    assert '(output 3 is "7", output 7 is "3")' in told


def test_teachers_that_guess_are_told_apart(task, linear) -> None:
    stuck = reordered(linear, list(range(10)))
    stuck[1].bias[4] += 1e4
    told = doubt(task, stuck)
    assert told is not None
    assert "no better than guessing" in told
    assert "sure of its answers (100% on average)" in told
    torch.manual_seed(0)
    untrained = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    told = doubt(task, untrained)
    assert told is None or "sure" not in told
    # One that was trained here has the classes of its labels, and is not asked.
    assert doubt(task, reordered(linear, [0, 1, 2, 7, 4, 5, 6, 3, 8, 9]), given=False) is None


def viewed(**changes) -> ClassificationTask:
    return ClassificationTask(small(distill={"views": 2}, **changes))


@pytest.mark.parametrize("augment", ["affine", "camera"])
def test_processes_share_numbered_views(augment) -> None:
    task = viewed(data={"augment": augment})
    order = list(torch.split(torch.randperm(256, generator=torch.Generator().manual_seed(2)), 32))[
        :2
    ]

    def made(team: Team) -> list[Batch]:
        other = ClassificationTask(task.cfg, splits=task.splits)
        return list(other.batches(Epoch(order, 0, 1, torch.Generator(), 1, team, views=2)))

    whole = made(ALONE)
    for rank in (0, 1):
        parts = made(Team(rank, 2, torch.device("cpu")))
        for part, batch in zip(parts, whole, strict=True):
            assert torch.equal(part.images, batch.images[rank::2])
            assert torch.equal(part.labels, batch.labels[rank::2])
            assert torch.equal(part.indices, batch.indices[rank::2])
            assert (part.view, batch.view) == (1, 1)


def test_numbered_views_are_of_the_students_alone_and_of_their_identity(task) -> None:
    views = viewed()
    assert views.variants == 2
    assert views.identity(0) == task.identity()  # the teacher's
    assert views.identity(2)["views"] == [2, 3]
    assert views.for_teacher().identity() == task.identity()
    assert viewed(data={"augment": "none"}).variants == 0
    order = [torch.arange(16)]

    def images(view: int, views_: int, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        (batch,) = views.batches(Epoch(order, 0, 1, generator, view, views=views_))
        return batch.images

    assert torch.equal(images(0, 2, 0), images(0, 2, 1))
    assert not torch.equal(images(0, 2, 0), images(1, 2, 0))
    assert not torch.equal(images(0, 0, 0), images(0, 0, 1))


def test_a_student_learns_from_cached_views_as_from_the_teacher(tmp_path) -> None:
    task = viewed(data={"augment": "affine"})
    student = task.build("mlp", task.arguments("mlp", {}), "student", 0)
    teacher = task.build("mlp", task.arguments("mlp", {}), "teacher", 1).eval()
    calls = []
    teacher.register_forward_hook(lambda *args: calls.append(1))
    loss = task.distillation(student, teacher, tmp_path, ALONE).loss
    asking = ClassificationTask(small(), splits=task.splits)
    plain = asking.distillation(student, teacher, tmp_path, ALONE).loss
    epoch = Epoch([torch.arange(32)], 0, 1, torch.Generator(), 1, views=2)
    for times in (1, 1):
        (batch,) = task.batches(epoch)
        logits = task.forward(student, batch.images)
        found = loss(batch, logits)
        assert len(calls) == times
        calls_before = len(calls)
        wanted = plain(batch, logits)
        del calls[calls_before:]
        torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("section", "exact"),
    [
        ({"loss": "mse"}, True),
        ({"loss": "kd", "logits": [{"loss": "mse"}]}, True),
        ({"loss": "kd", "standardize": True}, True),
        ({"loss": "kd", "logits": [{"loss": "dist"}]}, False),
    ],
)
def test_of_many_classes_all_logits_are_kept_where_a_loss_reads_them(
    tmp_path, monkeypatch, section, exact
) -> None:
    monkeypatch.setattr("tvmkd.distill.classification.MOST", 3)
    task = ClassificationTask(small(distill={"views": 2, **section}, data={"augment": "affine"}))
    student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval() for _ in range(2))
    seen = []
    found = task.distillation(student, teacher, tmp_path, ALONE).loss
    found._logits = lambda mine, other, *_, **__: seen.append(other) or mine.sum()
    found._more = []
    (batch,) = task.batches(Epoch([torch.arange(8)], 0, 1, torch.Generator(), 1, views=2))
    found(batch, task.forward(student, batch.images))
    wanted = teacher(batch.images).detach()
    assert torch.allclose(seen[0], wanted, atol=2e-3) is exact
