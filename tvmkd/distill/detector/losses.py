"""What a detector learns from another one whose anchors, head and activation differ.

Classes where the two look at the same thing, weighted by how sure the teacher is that something is
there; boxes; and features of maps of the same size. Chen et al. (2017), Wang et al. (FGFI, 2019)
and Cao et al. (PKD, 2022), for two different heads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from tvmkd.data.detection.dataset import Target
from tvmkd.distill import loss_parts
from tvmkd.distill.distributed import average, moments, normaliser
from tvmkd.distill.task import Batch, Loss
from tvmkd.models.detectors import BOX_WEIGHTS, Dense, Raw

MATCH = 0.5  # least IoU of an anchor and what the teacher found, for it to be about the same thing
UNSURE = 0.01  # an answer of which the teacher is less sure is none, as most of its answers are
BACKGROUND = 0.1  # weight of features outside of boxes, of which there are many more
_TINY = 1e-6


@dataclass(frozen=True)
class Answers:
    """What a teacher says of images.

    ``logits [N, M, K]`` and ``boxes [N, M, 4]`` are those of the M anchors that it is surest of;
    the boxes are parts of the image, 0 to 1. ``features`` are some of its maps, ``places`` which
    ones; empty: all.
    """

    logits: Tensor
    boxes: Tensor
    features: list[Tensor]
    places: tuple[int, ...] = ()

    def map(self, place: int) -> Tensor:
        """The feature map at a place of the teacher's."""
        return self.features[self.places.index(place) if self.places else place]


class DetectorDistillation(nn.Module):
    """The sum of the three losses. Its own weights are those that adapt features.

    The two have other anchors, and torchvision's RetinaNet and SSD do not even agree where the
    middle of a cell is. So an anchor of the student is matched with what the teacher found there:
    the surest of its boxes that overlap the anchor by at least `MATCH`.

    Args:
        student, teacher: detectors of the same classes.
        classification: weight of the loss on classes and on whether something is there.
        boxes: weight of the loss on boxes.
        features: weight of the loss on features; 0 leaves them out.
        temperature: of the classes.
    """

    anchors: Tensor

    def __init__(
        self,
        student: Dense,
        teacher: Dense,
        *,
        classification: float = 1.0,
        boxes: float = 1.0,
        features: float = 1.0,
        temperature: float = 2.0,
    ) -> None:
        super().__init__()
        self.weights = {"classification": classification, "boxes": boxes, "features": features}
        self.temperature = temperature
        self._softmax = student.activation == "softmax", teacher.activation == "softmax"
        self._answers = student.answers
        self._coder = BoxCoder(BOX_WEIGHTS[student.activation])
        self._size = student.size
        self.register_buffer("anchors", student.anchors, persistent=False)
        self.pairs = pairs(student, teacher) if features else []
        self.adapters = nn.ModuleList(
            nn.Conv2d(one, other, 1) for (_, one), (_, other) in self.pairs
        )

    def forward(self, found: Raw, answers: Answers, targets: Sequence[Target]) -> Tensor:
        """What the student and the teacher say of the same images, to a scalar."""
        total = torch.zeros((), device=found.logits.device)
        sure, hidden, wanted = self.match(answers)
        count = normaliser(sure.sum())
        there = sure > 0  # few anchors; the others would cost more time than the rest of the loss
        if self.weights["classification"]:
            logits = self._answers(found.logits)
            seen = logits[there][:, 1:] if self._softmax[0] else logits[there]
            apart = self._classes(seen, hidden[there], sure[there])
            apart = apart + self._presence(logits, sure)
            part = self.weights["classification"] * apart / count
            total = total + loss_parts.note("classes", part)
        if self.weights["boxes"]:
            mine, other = found.offsets[there], wanted[there]
            gap = F.smooth_l1_loss(mine, other, reduction="none", beta=0.1).sum(-1)
            part = self.weights["boxes"] * (sure[there] * gap).sum() / count
            total = total + loss_parts.note("boxes", part)
        if self.pairs:
            part = self.weights["features"] * self._features(found, answers, targets)
            total = total + loss_parts.note("features", part)
        return total

    def match(self, answers: Answers) -> tuple[Tensor, Tensor, Tensor]:
        """What the teacher found at each of the student's anchors.

        Returns:
            How sure it is ``[N, A]``, 0 where it found nothing; its logits of the classes
            ``[N, A, classes]``; its box as an offset from the anchor ``[N, A, 4]``.
        """
        sure, hidden = foreground(answers.logits.float(), self._softmax[1])
        sure = sure * (sure >= UNSURE)
        used = sure.any(0).nonzero()[:, 0] if sure.any() else torch.arange(1, device=sure.device)
        sure, hidden = sure[:, used], hidden[:, used]
        boxes = answers.boxes[:, used].float() * self._size
        # A box without a side has no logarithm.
        boxes = torch.cat([boxes[..., :2], torch.maximum(boxes[..., 2:], boxes[..., :2] + 1)], -1)
        count, most = sure.shape
        overlap = box_iou(self.anchors, boxes.reshape(-1, 4)).reshape(-1, count, most)
        score = sure * (overlap >= MATCH)
        best, place = score.max(-1)  # [A, N]
        best, place = best.T, place.T
        rows = torch.arange(count, device=place.device)[:, None]
        there = boxes[rows, place]
        flat = self.anchors.repeat(count, 1)
        offsets = self._coder.encode_single(there.reshape(-1, 4), flat).reshape(there.shape)
        return best, hidden[rows, place], offsets

    def _classes(self, mine: Tensor, other: Tensor, sure: Tensor) -> Tensor:
        """Divergence of P answers' classes, given that something is there."""
        heat = self.temperature
        logs, wanted = F.log_softmax(mine / heat, -1), F.log_softmax(other / heat, -1)
        apart = F.kl_div(logs, wanted, reduction="none", log_target=True).sum(-1)
        return (sure * apart).sum() * heat**2

    def _presence(self, logits: Tensor, sure: Tensor) -> Tensor:
        """Cross entropy of whether something is there, weighted by how far off the student is.

        The weight is that of quality focal loss (Li et al., 2020): it keeps many thousand anchors
        on which both see nothing from drowning the others.
        """
        odds = presence_logit(logits, self._softmax[0])
        apart = F.binary_cross_entropy_with_logits(odds, sure, reduction="none")
        return ((sure - odds.sigmoid()).detach().square() * apart).sum()

    def _features(self, found: Raw, answers: Answers, targets: Sequence[Target]) -> Tensor:
        """Squared distance of normalised maps, most of it inside of boxes."""
        losses = []
        for ((at, _), (other, _)), adapter in zip(self.pairs, self.adapters, strict=True):
            mine, wanted = adapter(found.features[at]).float(), answers.map(other).float()
            apart = (_normalised(mine) - _normalised(wanted)).pow(2).mean(1)
            inside = masks(targets, self._size, mine.shape[-2:]).to(apart.device)
            weight = inside + BACKGROUND * (1 - inside)
            losses.append((weight * apart).sum() / average(weight.sum()))
        return torch.stack(losses).mean()


class TeacherLoss(nn.Module):
    """The whole loss of a distilled detector: its own on labels, and those from a teacher.

    Args:
        own: the loss on labels.
        distillation: the losses from the teacher; its weights are this module's.
        ask: from images, their positions in the split and the number of the view to `Answers`.
        terms: further losses, called with the student's output, `Answers`, the targets and the
            share of the training that is done; its weights are this module's, too.
    """

    def __init__(
        self,
        own: Loss,
        distillation: DetectorDistillation,
        ask: Callable[[Tensor, Sequence[int], int], Answers],
        terms: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self._own, self._ask = own, ask
        self.distillation = distillation
        self.terms = terms
        self.register_load_state_dict_pre_hook(_from_before)  # type: ignore[no-untyped-call]

    def forward(self, batch: Batch, output: Raw) -> Tensor:
        """A batch and the student's output for it to a scalar."""
        answers = self._ask(batch.images, batch.indices.tolist(), batch.view)
        own = loss_parts.note("labels", self._own(batch, output))
        total: Tensor = own + self.distillation(output, answers, batch.labels)
        if self.terms is not None:
            total = total + self.terms(output, answers, batch.labels, batch.progress)
        return total

    def close(self) -> None:
        """Takes off what the further losses have attached to the networks."""
        if self.terms is not None:
            cast(Any, self.terms).close()


def _from_before(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Checkpoints used to hold the weights of the distillation alone."""
    del module
    inner = f"{prefix}distillation."
    known = (inner, f"{prefix}terms.")
    for key in [key for key in state if not key.startswith(known)]:
        state[inner + key.removeprefix(prefix)] = state.pop(key)


def foreground(logits: Tensor, softmax: bool) -> tuple[Tensor, Tensor]:
    """How sure a detector is that something is there, and its logits of the classes alone.

    Args:
        logits: ``[N, A, K]``.
        softmax: whether K has a background, which then comes first.

    Returns:
        ``[N, A]`` of 0 to 1, and ``[N, A, classes]``.
    """
    if softmax:
        return 1 - F.softmax(logits, -1)[..., 0], logits[..., 1:]
    return logits.max(-1).values.sigmoid(), logits


def presence_logit(logits: Tensor, softmax: bool) -> Tensor:
    """The logit of what `foreground` gives first."""
    if softmax:
        return torch.logsumexp(logits[..., 1:], -1) - logits[..., 0]
    return logits.max(-1).values


def pairs(student: Dense, teacher: Dense) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Maps of as many cells, as ``(place, channels)`` of the student's and of the teacher's.

    Their cells are of the same places in the image, whatever the two inputs' sizes. One cell says
    nothing of places, and is left out.
    """
    found, shapes = [], []
    for network in (student, teacher):
        mode = network.training
        with torch.no_grad():
            maps = network.eval().look(network.blank)
        network.train(mode)
        shapes.append([(feature.shape[1], feature.shape[-1]) for feature in maps])
    for (at, (one, side)), (other, (width, wide)) in itertools.product(
        enumerate(shapes[0]), enumerate(shapes[1])
    ):
        if side == wide > 1:
            found.append(((at, one), (other, width)))
    return found


def masks(targets: Sequence[Target], size: int, shape: Sequence[int]) -> Tensor:
    """Where boxes are: ``[N, h, w]`` of 0 and 1 for a map of an input of ``size`` pixels a side."""
    height, width = shape
    made = torch.zeros(len(targets), height, width)
    for mask, target in zip(made, targets, strict=True):
        scale = torch.tensor([width, height, width, height]) / size
        for x1, y1, x2, y2 in (target["boxes"].cpu() * scale).tolist():
            mask[int(y1) : math.ceil(y2), int(x1) : math.ceil(x2)] = 1
    return made


def _normalised(feature: Tensor) -> Tensor:
    """Each channel with mean 0 and variance 1 over images and places (PKD)."""
    mean, variance, count = moments(feature, (0, 2, 3))
    return (feature - mean) / (variance * (count / max(1, count - 1)) + _TINY).sqrt()
