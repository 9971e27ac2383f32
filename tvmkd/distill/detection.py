"""The task of finding objects: boxes and their classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import box_iou

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.data.detection.load import load
from tvmkd.data.detection.metrics import Prediction
from tvmkd.data.detection.splits import DetectionSplits
from tvmkd.data.prefetch import ahead
from tvmkd.distill.detector.evaluate import THRESHOLD as LOWEST
from tvmkd.distill.detector.evaluate import measure, predict, targets
from tvmkd.distill.detector.losses import DetectorDistillation, TeacherLoss
from tvmkd.distill.detector.student_loss import student_loss
from tvmkd.distill.detector.teacher_cache import Teacher
from tvmkd.distill.detector.terms.total import Terms
from tvmkd.distill.detector.terms.total import identity as terms_identity
from tvmkd.distill.detector.threshold import BETAS, calibrate
from tvmkd.distill.detector.views import Views
from tvmkd.distill.distributed import ALONE, Team, normaliser
from tvmkd.distill.task import SPLITS, Batch, Distilled, Epoch, Loss, Metric, Split, Task
from tvmkd.distill.teacher_cache import fingerprint
from tvmkd.models import checkpoint as files
from tvmkd.models import state_dicts
from tvmkd.models.detectors import Dense, Raw

if TYPE_CHECKING:
    from tvmkd.config import Config

SURE = 0.3  # least score of an object that two networks are compared by


class DetectionTask(Task):
    """Objects in images; a network is a `Dense` detector and answers with logits and offsets.

    Args:
        cfg: the whole config.
        search_in: folders to look in for a ``module:callable``.
        splits: the data; None: what ``[data]`` names.

    Raises:
        InputError: the data cannot be used.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("mAP", label="mAP "),
        Metric("voc", label="VOC "),
    )
    calibrates: ClassVar[bool] = True
    # A box far from its anchor sends an enormous gradient.
    clip: ClassVar[float | None] = 10.0
    labels_id: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, cfg: Config, search_in: Sequence[Path] = (), splits: DetectionSplits | None = None
    ) -> None:
        super().__init__(cfg, search_in)
        self.splits = splits or load(cfg.data)
        size, seed = cfg.data.image_size, cfg.project.seed
        self.variants = cfg.detection.variants
        self.train = Views(
            self.splits.train, size, cfg.detection.augment, seed, keep=self.variants > 0
        )
        self.plain = {split: Views(getattr(self.splits, split), size) for split in SPLITS}
        self.classes = self.splits.classes
        self.input_shape = (1, 3, size, size)
        self.sha256 = self.splits.sha256
        self.preprocessing = {"resize": [size, size], "scale": 1 / 255, "channels": "RGB"}

    def count(self, split: Split) -> int:
        """Number of images in a split."""
        return len(self.plain[split])

    def samples(self, count: int, split: Split = "test") -> NDArray[np.float32]:
        """Real inputs, evenly spread over a split: float32 ``[count, 3, size, size]``."""
        return self.plain[split].sample(count).numpy()

    def batches(self, epoch: Epoch) -> Generator[Batch, None, None]:
        """Views of images, with a list of targets, boxes in pixels of the view."""
        own = [epoch.own(whole) for whole in epoch.order]

        def make(indices: Tensor) -> tuple[Tensor, Any]:
            return self.train.batch(indices.tolist(), epoch.view)

        if self.train.ready(epoch.view):
            # Nothing to decode: a thread would only hold up this one.
            coming: Generator[tuple[Tensor, Any], None, None] = (make(indices) for indices in own)
        else:
            coming = ahead(own, [make])
        with closing(coming):
            for step, ((images, targets), indices) in enumerate(zip(coming, own, strict=True)):
                yield Batch(images, targets, indices, epoch.progress(step), epoch.view)

    def identity(self, variants: int = 0) -> dict[str, Any]:
        """The data, and how views are made."""
        views = [self.train.size, self.train.augment, self.train.seed, variants]
        return {"data": self.sha256, "views": views}

    def check(self, network: nn.Module, name: str) -> None:
        """Checks that a network is a detector of the data's classes and size.

        Raises:
            InputError: it is not.
        """
        size = self.cfg.data.image_size
        if not isinstance(network, Dense):
            known = ", ".join(models.DETECTORS)
            raise InputError(
                f'{name}: is no detector, and [data] dataset = "{self.cfg.data.dataset}" needs '
                f"one: {known}, or a callable that returns a tvmkd.models.detectors.Dense"
            )
        if (network.classes, network.size) != (len(self.classes), size):
            raise InputError(
                f"{name}: has {network.classes} classes and takes {network.size} pixels, but the "
                f"data has {len(self.classes)} classes and {size} pixels; leave both out of its "
                "args"
            )

    def load_backbone(self, network: nn.Module, path: Path) -> None:
        """Starts a detector's backbone from a classifier's weights.

        Raises:
            InputError: the file cannot be read, or its weights are not of this backbone.
        """
        assert isinstance(network, Dense)
        try:
            network.load_backbone(files.weights(path))
        except InputError as error:
            raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None

    def load_weights(self, network: nn.Module, path: Path, name: str) -> None:
        """As `checkpoint.load_weights`; names both numbers of classes where they differ."""
        assert isinstance(network, Dense)
        bias = "head.classification_head.cls_logits.bias"
        shapes = state_dicts.shapes(network)
        mine, other = network.state_dict().get(bias), files.weights(path, shapes).get(bias)
        if mine is not None and other is not None and len(other) != len(mine):
            anchors = len(mine) // (network.classes + 1)
            raise InputError(
                f"{path}: a detector of {len(other) // anchors - 1} classes, but the data has "
                f"{network.classes}; give a teacher of the same classes, or data with its class map"
            )
        super().load_weights(network, path, name)

    def chance(self, split: Split) -> float:
        """A detector that found nothing, or next to nothing."""
        del split
        return 0.001

    def metadata(self, network: nn.Module) -> dict[str, str]:
        """How the outputs are decoded: anchors, classes, activation."""
        assert isinstance(network, Dense)
        return network.describe(self.classes).to_metadata()

    def calibrate(
        self, network: nn.Module, run: Callable[[Tensor], Any], team: Team = ALONE
    ) -> dict[str, str]:
        """`metadata`, with the threshold that ``[detection]`` gives or that fits best.

        Without any right detection on the validation data there is none.
        """
        about, wanted = _dense(network).describe(self.classes), self.cfg.detection.threshold
        found: float | None
        if isinstance(wanted, str):
            views = self.plain["val"]
            detections = predict(run, views, about, team)
            found = calibrate(detections, targets(views), BETAS[wanted], LOWEST)
        else:
            found = wanted
        return replace(about, threshold=found).to_metadata()

    def forward(self, network: nn.Module, images: Tensor) -> Raw:
        """Logits, offsets and feature maps."""
        return _dense(network).raw(images)

    def loss(self, network: nn.Module) -> Loss:
        """The detector's own loss, normalised over the whole batch."""
        dense = _dense(network)

        def loss(batch: Batch, output: Raw) -> Tensor:
            return dense.loss(output, batch.labels, normaliser)

        return loss

    def student_loss(self, network: nn.Module) -> Loss:
        """As ``[detection]`` says, normalised over the whole batch."""
        section = self.cfg.detection
        return student_loss(_dense(network), section.box_loss, section.iou_weight)

    @property
    def student_labels_id(self) -> dict[str, Any]:
        """Empty where the student's loss is that of its kind."""
        return self.cfg.detection.model_dump(
            mode="json", include={"box_loss", "iou_weight"}, exclude_defaults=True
        )

    def check_distillation(self, student: nn.Module, teacher: nn.Module) -> None:
        """Checks that the losses suit both detectors.

        Raises:
            InputError: as `Terms` and `student_loss`.
        """
        self.student_loss(student)
        Terms(self.cfg.detection.losses, _dense(student), _dense(teacher), self.search_in).close()

    def distillation(
        self, student: nn.Module, teacher: nn.Module, folder: Path, team: Team
    ) -> Distilled:
        """As ``[detection]`` says: the detector's own loss, three from the teacher, and further
        ones.

        The teacher's answers to views that come again are kept in ``folder``.
        """
        section = self.cfg.detection
        terms = section.model_dump(include={"classification", "boxes", "features", "temperature"})
        distillation = DetectorDistillation(_dense(student), _dense(teacher), **terms)
        more: Terms | None = None
        places = [place for _, (place, _) in distillation.pairs]
        facts: dict[str, Any] = {**terms, **self.student_labels_id}
        if section.losses:
            # Weights of their own start alike, whatever was drawn before in this process.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.cfg.project.seed)
                more = Terms(section.losses, _dense(student), _dense(teacher), self.search_in)
            places += [place for place in more.wanted if place not in places]
            facts["losses"] = terms_identity(section.losses, self.search_in)
        known = fingerprint(self.cfg, teacher, self.search_in)
        anchors = files.fingerprint({"anchors": _dense(teacher).anchors})
        views = [self.train.size, self.train.augment, self.train.seed]
        with team.leader_first():
            asked = Teacher(
                _dense(teacher),
                places,
                # Views that never come again are not worth a disk.
                folder if section.variants else None,
                json.dumps([known, anchors, self.sha256, views]),
                (self.count("train"), section.variants),
            )
        loss = TeacherLoss(self.student_loss(student), distillation, asked.answer, more)
        return Distilled(loss, {**facts, "teacher": known})

    def measure(
        self,
        network: nn.Module,
        run: Callable[[Tensor], Any],
        split: Split,
        team: Team = ALONE,
    ) -> dict[str, float]:
        """COCO's mAP and VOC's, 0 to 1, boxes in pixels of the original images."""
        found = measure(run, self.plain[split], _dense(network).describe(self.classes), team)
        return {"map": found.coco, "voc": found.voc}

    def fixed_outputs(self, network: nn.Module) -> list[nn.Module]:
        """The head's last convolutions, one of classes and one of boxes for each map."""
        return _dense(network).output_layers()

    def answers(
        self, network: nn.Module, run: Callable[[Tensor], Any], split: Split
    ) -> list[Prediction]:
        """The objects found in each image, with scores of at least `SURE`."""
        description = _dense(network).describe(self.classes)
        return predict(run, self.plain[split], description, threshold=SURE)

    def agreement(self, first: list[Prediction], second: list[Prediction]) -> float:
        """The share of objects of either that both found: of one class, with an IoU above half."""
        shared = total = 0
        for one, other in zip(first, second, strict=True):
            overlap = box_iou(one["boxes"], other["boxes"])
            same = one["labels"][:, None] == other["labels"][None]
            match = (overlap > 0.5) & same
            shared += int(match.any(1).sum() + match.any(0).sum())
            total += sum(match.shape)
        return shared / total if total else 1.0

    @property
    def loss_name(self) -> str:
        """Detectors have one way to learn from a teacher."""
        return "ce" if self.cfg.distill.loss == "ce" else "kd"

    def sections(self) -> dict[str, Any]:
        """``[distill]`` and ``[detection]``."""
        return {**super().sections(), "detection": self.cfg.detection.model_dump(mode="json")}


def _dense(network: nn.Module) -> Dense:
    assert isinstance(network, Dense)
    return network
