"""What a detector learns from another one whose anchors, head and activation differ.

Classes on anchors that match, weighted by how sure the teacher is that something is there; boxes;
and features of maps of the same size. Chen et al. (2017), Wang et al. (FGFI, 2019) and Cao et al.
(PKD, 2022), for two different heads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from tvmkd.data.detection.dataset import Target
from tvmkd.models.detectors import BOX_WEIGHTS, Dense, Raw

MATCH = 0.5  # least IoU of an anchor and the teacher's that answers for it
BACKGROUND = 0.1  # weight of features outside of boxes, of which there are many more
_TINY = 1e-6


@dataclass(frozen=True)
class Answers:
    """What a teacher says of images: logits without unused columns, offsets, and its features."""

    logits: Tensor
    offsets: Tensor
    features: list[Tensor]


class DetectorDistillation(nn.Module):
    """The sum of the three losses. Its own weights are those that adapt features.

    Args:
        student, teacher: detectors of the same classes; the teacher's input may be larger.
        classification: weight of the loss on classes and on whether something is there.
        boxes: weight of the loss on boxes.
        features: weight of the loss on features; 0 leaves them out.
        temperature: of the classes.
    """

    mine: Tensor
    theirs: Tensor
    anchors: Tensor
    other_anchors: Tensor

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
        self._coders = [BoxCoder(BOX_WEIGHTS[one.activation]) for one in (student, teacher)]
        scale = student.size / teacher.size
        matched, partner = box_iou(student.anchors, teacher.anchors * scale).max(1)
        mine = torch.nonzero(matched >= MATCH)[:, 0]
        self.register_buffer("mine", mine, persistent=False)
        self.register_buffer("theirs", partner[mine], persistent=False)
        self.register_buffer("anchors", student.anchors[mine], persistent=False)
        other = teacher.anchors[partner[mine]]
        self.register_buffer("other_anchors", other, persistent=False)
        self._scale, self._size = scale, student.size
        self.pairs = pairs(student, teacher) if features else []
        self.adapters = nn.ModuleList(
            nn.Conv2d(one, other, 1) for (_, one), (_, other) in self.pairs
        )

    def forward(self, found: Raw, answers: Answers, targets: Sequence[Target]) -> Tensor:
        """What the student and the teacher say of the same images, to a scalar."""
        total = torch.zeros((), device=found.logits.device)
        logits = answers.logits.float()[:, self.theirs]
        sure, hidden = foreground(logits, self._softmax[1])
        count = sure.sum().clamp_min(1.0)
        if self.weights["classification"]:
            mine, seen = foreground(found.logits[:, self.mine], self._softmax[0])
            total = total + self.weights["classification"] * (
                self._classes(mine_logits=seen, other=hidden, sure=sure) / count
                + self._presence(found.logits[:, self.mine], mine, sure) / count
            )
        if self.weights["boxes"]:
            wanted = self._boxes(answers.offsets.float()[:, self.theirs])
            apart = F.smooth_l1_loss(
                found.offsets[:, self.mine], wanted, reduction="none", beta=0.1
            )
            total = total + self.weights["boxes"] * (sure * apart.sum(-1)).sum() / count
        if self.pairs:
            total = total + self.weights["features"] * self._features(found, answers, targets)
        return total

    def _classes(self, mine_logits: Tensor, other: Tensor, sure: Tensor) -> Tensor:
        """Divergence of the classes, given that something is there."""
        heat = self.temperature
        wanted = F.softmax(other / heat, -1)
        apart = F.kl_div(F.log_softmax(mine_logits / heat, -1), wanted, reduction="none").sum(-1)
        return (sure * apart).sum() * heat**2

    def _presence(self, logits: Tensor, mine: Tensor, sure: Tensor) -> Tensor:
        """Cross entropy of whether something is there, weighted by how far off the student is.

        The weight is that of quality focal loss (Li et al., 2020): it keeps many thousand anchors
        on which both see nothing from drowning the others.
        """
        odds = presence_logit(logits, self._softmax[0])
        apart = F.binary_cross_entropy_with_logits(odds, sure, reduction="none")
        return ((sure - mine).detach().abs().pow(2) * apart).sum()

    def _boxes(self, offsets: Tensor) -> Tensor:
        """The teacher's boxes as offsets from the student's anchors."""
        flat = offsets.reshape(-1, 4)
        repeated = self.other_anchors.repeat(len(offsets), 1)
        boxes: Tensor = self._coders[1].decode_single(flat, repeated) * self._scale
        boxes = boxes.clamp(0, self._size)
        # A box without a side has no logarithm.
        boxes = torch.cat([boxes[:, :2], torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)], 1)
        wanted: Tensor = self._coders[0].encode_single(boxes, self.anchors.repeat(len(offsets), 1))
        return wanted.reshape(offsets.shape)

    def _features(self, found: Raw, answers: Answers, targets: Sequence[Target]) -> Tensor:
        """Squared distance of normalised maps, most of it inside of boxes."""
        losses = []
        for ((at, _), (other, _)), adapter in zip(self.pairs, self.adapters, strict=True):
            mine, wanted = adapter(found.features[at]).float(), answers.features[other].float()
            apart = (_normalised(mine) - _normalised(wanted)).pow(2).mean(1)
            inside = masks(targets, self._size, mine.shape[-2:]).to(apart.device)
            weight = inside + BACKGROUND * (1 - inside)
            losses.append((weight * apart).sum() / weight.sum())
        return torch.stack(losses).mean()


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
    """Maps of the same stride, as ``(place, channels)`` of the student's and of the teacher's.

    Maps of less than two by two say nothing of places, and are left out.
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
        stride, reach = student.size / side, teacher.size / wide
        if side > 1 and side == wide and math.isclose(stride * teacher.size, reach * student.size):
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
    mean, variance = feature.mean((0, 2, 3), keepdim=True), feature.var((0, 2, 3), keepdim=True)
    return (feature - mean) / (variance + _TINY).sqrt()
