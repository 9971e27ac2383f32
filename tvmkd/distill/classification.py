"""The task of telling classes of images apart."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tvmkd import data
from tvmkd.data import augment
from tvmkd.data.splits import Augment, Images, Splits, Subset, batches, evenly
from tvmkd.distill import label_order, losses, teacher_cache
from tvmkd.distill.curriculum import Curriculum
from tvmkd.distill.distillation_loss import Distillation, check
from tvmkd.distill.distributed import ALONE, Team
from tvmkd.distill.numbered_views import NumberedViews
from tvmkd.distill.probe import logits_of, probe
from tvmkd.distill.task import (
    SPLITS,
    Batch,
    Distilled,
    Epoch,
    Imitation,
    Loss,
    Metric,
    Split,
    Task,
)
from tvmkd.distill.view_answers import MOST, ViewAnswers

if TYPE_CHECKING:
    from tvmkd.config import Config

EVALUATION_BATCH = 128
ORDER_IMAGES = 2048  # of the training split, to find the order of a teacher's classes
ORDER_GAIN = 0.1  # accuracy that another order has to gain, and to have over guessing
SURE = 0.8  # mean probability of its answers from which a teacher was trained on something


class ClassificationTask(Task):
    """Images of one class each; a network answers with logits ``[N, classes]``.

    Args:
        cfg: the whole config.
        search_in: folders to look in for a ``module:callable``.
        splits: the data; None: what ``[data]`` names.

    Raises:
        InputError: the data cannot be used.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (Metric("accuracy", scale=100, digits=1, unit="%"),)
    labels_id: ClassVar[dict[str, Any]] = {"loss": "ce"}

    def __init__(
        self, cfg: Config, search_in: Sequence[Path] = (), splits: Splits | None = None
    ) -> None:
        super().__init__(cfg, search_in)
        self._all = splits or data.load(cfg.data)
        few = cfg.student.images
        self.splits = self._all if few is None else self._all.fewer(few)
        self.classes = self.splits.classes
        self.input_shape = self.splits.shape
        self.sha256 = self.splits.sha256
        self.preprocessing = self.splits.preprocessing
        if self.splits.augment is not None:
            self.variants = cfg.distill.views
        self._views: NumberedViews | None = None

    def count(self, split: Split) -> int:
        """Number of images in a split."""
        return len(self._images(split).labels)

    def samples(self, count: int, split: Split = "test") -> NDArray[np.float32]:
        """Real inputs, evenly spread over a split: float32 ``[count, C, H, W]``."""
        return self.splits.sample(count, split)

    def batches(self, epoch: Epoch) -> Generator[Batch, None, None]:
        """Augmented images with labels int64 ``[N]``."""
        images, change = self.splits.train, self.splits.augment
        shares = [epoch.own(whole) for whole in epoch.order]
        # Beside a GPU the CPU has time for a thread.
        light = epoch.team.device.type == "cpu" and not getattr(change, "heavy", True)
        if epoch.views and change is not None:
            coming = self._numbered(change, epoch.views).batches(shares, epoch.view, light=light)
            with closing(coming):
                for number, (pictures, labels) in enumerate(coming):
                    pictures = pictures.contiguous(memory_format=torch.channels_last)
                    where = shares[number]
                    yield Batch(pictures, labels, where, epoch.progress(number), epoch.view)
            return

        def changed(pictures: Tensor) -> Tensor:
            # Augmented as one batch: how many numbers a change draws may depend on the images, and
            # each process has to draw the same.
            assert change is not None
            own: Tensor = epoch.own(change(pictures, epoch.generator))
            return own.contiguous(memory_format=torch.channels_last)

        order = shares if change is None else epoch.order
        step = None if change is None else changed
        with closing(batches(images, order, step, light=light)) as coming:
            for number, ((pictures, labels), indices) in enumerate(
                zip(coming, shares, strict=True)
            ):
                if change is None:
                    pictures = pictures.contiguous(memory_format=torch.channels_last)
                else:
                    labels = epoch.own(labels)
                yield Batch(pictures, labels, indices, epoch.progress(number), epoch.view)

    def _numbered(self, change: Augment, count: int) -> NumberedViews:
        """The views that come again; kept, since all seeds share them."""
        images, seed = self.splits.train, self.cfg.project.seed
        known = self._views
        if known is None or known.images is not images or known.count != count:
            known = NumberedViews(images, change, seed, count, self.input_shape[1:])
            self._views = known
        return known

    def for_teacher(self) -> ClassificationTask:
        """With all training images, and the augmentation of ``[teacher] augment``."""
        cfg, splits, name = self.cfg, self._all, self.cfg.teacher.augment
        if name is None and splits is self.splits:
            return self
        task = copy.copy(self)  # of a user's class, perhaps
        if name is not None:
            steps = splits.preprocessing
            changed = cfg.data.model_copy(update={"augment": name})
            splits = replace(splits, augment=augment.named(changed, steps["mean"], steps["std"]))
        student = cfg.student.model_copy(update={"images": None})
        task.cfg = cfg.model_copy(update={"student": student})
        task._all = task.splits = splits
        task.sha256, task._views = splits.sha256, None
        task.variants = 0 if splits.augment is None else cfg.distill.views
        return task

    def shortened(self, split: Split, count: int) -> ClassificationTask:
        """With ``count`` images in a split, evenly by class."""
        images = self._images(split)
        if count >= len(images.labels):
            return self
        task, parts = copy.copy(self), {each: self._images(each) for each in SPLITS}
        parts[split] = Subset(images, evenly(images.labels, count))
        train, val, test = parts["train"], parts["val"], parts["test"]
        task.splits = replace(self.splits, train=train, val=val, test=test)
        return task

    def identity(self, variants: int = 0) -> dict[str, Any]:
        """The data and the augmentation."""
        views = {"views": [variants, self.cfg.project.seed]} if variants else {}
        return {
            "data": self.sha256,
            "augment": repr(self.splits.augment),
            "latency_weight": 0.0,  # a training's own comes over it; checkpoints have always had it
            **views,
        }

    def check(self, network: nn.Module, name: str) -> None:
        """Runs one empty image through a network.

        Raises:
            InputError: it refuses the shape of the data, does not return ``[1, classes]`` logits,
                or has no weights.
        """
        probe(network, self.splits, name)

    def forward(self, network: nn.Module, images: Tensor) -> Tensor:
        """Logits ``[N, classes]``."""
        return logits_of(network(images))

    def loss(self, network: nn.Module) -> Loss:
        """Cross entropy."""
        del network
        return losses.cross_entropy

    def imitation(self) -> Imitation:
        """The divergence of probabilities."""
        return losses.imitation

    def check_distillation(self, student: nn.Module, teacher: nn.Module) -> None:
        """Checks the loss, and the modules that losses on features name; warns of what may hurt.

        Raises:
            InputError: as `Distillation`.
        """
        check(self.cfg.distill, student, teacher, self.input_shape, self.search_in)

    def distillation(
        self, student: nn.Module, teacher: nn.Module, folder: Path, team: Team
    ) -> Distilled:
        """As ``[distill]`` says: a loss on logits, losses on features, a curriculum.

        The teacher's logits are kept in ``folder`` where images are not augmented, or where their
        views come again.
        """
        cfg, splits = self.cfg.distill, self.splits
        fingerprint = teacher_cache.fingerprint(self.cfg, teacher, self.search_in)
        known: Tensor | None = None
        if cfg.curriculum != "none" or (splits.augment is None and not cfg.features):
            known = teacher_cache.logits(teacher, fingerprint, splits, folder, team)
        curriculum = None
        if cfg.curriculum != "none":
            assert known is not None
            sure = teacher_cache.confidence(known, splits.train.labels)
            curriculum = Curriculum(
                sure, cfg.curriculum, cfg.curriculum_start, cfg.curriculum_full_at
            )
        cached: Callable[[Batch], Tensor] | None = None
        if splits.augment is None and known is not None:
            plain = known
            cached = lambda batch: plain[batch.indices]  # noqa: E731
        elif self.variants:
            cached = self._view_answers(teacher, fingerprint, folder, team)
        loss = Distillation(cfg, student, teacher, self.input_shape, cached, self.search_in)
        identity = {**losses.identity(cfg, self.search_in), "teacher": fingerprint}
        return Distilled(loss, identity, curriculum)

    def _view_answers(
        self, teacher: nn.Module, fingerprint: str, folder: Path, team: Team
    ) -> ViewAnswers:
        """The teacher's logits for the numbered views, shared by all trainings of a run."""
        shape = (self.count("train"), self.variants, len(self.classes))
        most = None if losses.reads_all_logits(self.cfg.distill) else MOST
        identity = [fingerprint, self.identity(self.variants)]
        with team.leader_first():
            return ViewAnswers(teacher, folder, identity, shape, most)

    def predict(
        self, run: Callable[[Tensor], Any], split: Split, team: Team = ALONE
    ) -> NDArray[np.int64]:
        """The class of each image of a split, in order: int64 ``[N]``.

        Args:
            run: from images to logits, see `measure`.
            split: which.
            team: the split is shared out over it; each process gets the whole answer.
        """
        images = self._images(split)
        own = torch.arange(team.rank, len(images.labels), team.size)
        found: list[tuple[int, int]] = []
        order = torch.split(own, EVALUATION_BATCH)
        with closing(batches(images, order)) as coming:
            for (pictures, _), places in zip(coming, order, strict=True):
                answers = logits_of(run(pictures)).argmax(dim=1).tolist()
                found += zip(places.tolist(), answers, strict=True)
        return np.array([label for _, label in sorted(team.gather(found))], np.int64)

    def measure(
        self,
        network: nn.Module,
        run: Callable[[Tensor], Any],
        split: Split,
        team: Team = ALONE,
    ) -> dict[str, float]:
        """Top-1 accuracy, 0 to 1."""
        del network
        right = self.predict(run, split, team) == self._images(split).labels.numpy()
        return {"accuracy": float(right.mean())}

    def answers(
        self, network: nn.Module, run: Callable[[Tensor], Any], split: Split
    ) -> NDArray[np.int64]:
        """The class of each image: int64 ``[N]``."""
        del network
        return self.predict(run, split)

    def agreement(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
        """The share of images of the same class."""
        return float((first == second).mean())

    def chance(self, split: Split) -> float:
        """The share of the most frequent class, and two standard deviations of that share."""
        labels = self._images(split).labels
        share = int(torch.bincount(labels).max()) / len(labels)
        return min(share + 2 * math.sqrt(share * (1 - share) / len(labels)), (1 + share) / 2)

    def doubt(self, teacher: nn.Module, score: float, team: Team, *, given: bool) -> str | None:
        """As `Task.doubt`; also finds a teacher whose classes are in another order."""
        told = super().doubt(teacher, score, team, given=given)
        if not given and told is None:
            return None

        def run(images: Tensor) -> Any:
            with torch.inference_mode():
                return teacher(images.to(team.device))

        # The order comes from training images, and what it is worth from others.
        few = self.shortened("train", ORDER_IMAGES)
        order = label_order.best(
            few.splits.train.labels.numpy(), few.predict(run, "train", team), len(self.classes)
        )
        labels, answers = self._images("val").labels.numpy(), self.predict(run, "val", team)
        now, then = (float((found == labels).mean()) for found in (answers, order[answers]))
        if then - now >= ORDER_GAIN and then >= self.chance("val") + ORDER_GAIN:
            return (
                f"the teacher scores {self.metric.text(score)}; with its classes in another order "
                f"it would have {then:.1%} of the validation images right, and not {now:.1%} "
                f"({label_order.text(order, self.classes)}): put its outputs into the order of the "
                "data"
            )
        images = torch.from_numpy(self.samples(EVALUATION_BATCH, "val"))
        sure = float(logits_of(run(images)).float().softmax(1).amax(1).mean())
        if told is not None and sure >= SURE:
            told += f"; it is sure of its answers ({sure:.0%} on average), so training is not it"
        return told

    def _images(self, split: Split) -> Images:
        images: Images = getattr(self.splits, split)
        return images
