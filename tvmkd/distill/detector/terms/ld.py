"""LD: where the edges of a box may be, as distributions, for heads that give offsets."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou, distance_box_iou

from tvmkd.base.errors import InputError
from tvmkd.distill.detector.losses import foreground
from tvmkd.distill.detector.terms.term import Seen, Term, register
from tvmkd.distill.distributed import normaliser
from tvmkd.models.detectors import BOX_WEIGHTS, Dense

SAME = 0.5  # least IoU of a teacher's box and an object that it is about
BINS = 17  # GFL's number


@register("ld")
class LD(Term):
    """Localisation distillation (Zheng et al., CVPR 2022), without a head of distributions.

    The paper's heads (GFL) give a distribution over bins for each edge; the loss is
    ``Σ KL(teacher ‖ student)`` over the edges. RetinaNet and SSD give one number an edge, so an
    exact LD is not possible. Here the bins are places of an edge, from one side of the anchor
    before the anchor's edge to one after it, and

    - the teacher's distribution of an object's edge is the mean of Gaussians of standard deviation
      ``width`` around the edges of all its boxes of that object, weighted by its confidence in
      each: it is wide where these boxes disagree, which is the ambiguity that LD transfers;
    - the student's is a Gaussian around its edge. It has no width of its own to learn, so it gets
      the teacher's for that edge: an edge that the teacher is sure of counts more.

    ``width`` stands for the paper's temperature.

    Both regions of the paper count: anchors whose DIoU with an object is above ``positive`` (main),
    and, with the weight ``valuable``, those with at least ``share`` of it, which are no positives
    but still see where the object is (the valuable localisation region). Objects that the teacher
    does not find are left out. The sum is divided by the weight of all these anchors.

    Args:
        student, teacher: detectors of the same classes.
        width: standard deviation, in sides of the anchor.
        positive: DIoU from which on an anchor is in the main region.
        share: of ``positive``, from which on it is in the valuable one; gamma in the paper.
        valuable: weight of that region.

    Raises:
        InputError: a value is out of range.
    """

    anchors: Tensor
    bins: Tensor

    def __init__(
        self,
        student: Dense,
        teacher: Dense,
        *,
        width: float = 0.25,
        positive: float = 0.5,
        share: float = 0.25,
        valuable: float = 0.25,
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("positive", positive), ("share", share)):
            if not 0 < value <= 1:
                raise InputError(f"ld: {name} has to be above 0, at most 1, not {value:g}")
        if not valuable >= 0:
            raise InputError(f"ld: valuable has to be 0 or more, not {valuable:g}")
        self.width, self.positive, self.share, self.valuable = width, positive, share, valuable
        self._softmax = teacher.activation == "softmax"
        self._coder = BoxCoder(BOX_WEIGHTS[student.activation])
        self._size = student.size
        self.register_buffer("anchors", student.anchors, persistent=False)
        self.register_buffer("bins", torch.linspace(-1, 1, BINS), persistent=False)

    def forward(self, seen: Seen) -> Tensor:
        """See `Term`."""
        sure, _ = foreground(seen.answers.logits.float(), self._softmax)
        found = seen.answers.boxes.float() * self._size
        total = seen.output.offsets.new_zeros(())
        weight = total.clone()
        for image, target in enumerate(seen.targets):
            objects = target["boxes"].to(sure.device).float()
            if not len(objects):
                continue
            weights, places = self.regions(objects)
            # Of each object the teacher's boxes, and how sure it is of each.
            shares = sure[image] * (box_iou(objects, found[image]) >= SAME)
            certain = shares.max(1).values[places]
            counts = weights * certain
            (chosen,) = torch.nonzero(counts > 0, as_tuple=True)
            if not len(chosen):
                continue
            anchors = self.anchors[chosen]
            mine = self._coder.decode_single(seen.output.offsets[image, chosen], anchors)
            apart = self.divergence(
                self.edges(mine, anchors),
                self.edges(found[image], anchors[:, None]),
                shares[places[chosen]],
            )
            total = total + (counts[chosen] * apart).sum()
            weight = weight + counts.sum()
        return total / normaliser(weight)

    def regions(self, objects: Tensor) -> tuple[Tensor, Tensor]:
        """Of each anchor its weight, and the nearest object by DIoU: ``[A]`` both."""
        near, places = distance_box_iou(self.anchors, objects).max(1)
        main = near >= self.positive
        valuable = (near >= self.share * self.positive) & ~main
        return main.float() + self.valuable * valuable.float(), places

    @staticmethod
    def edges(boxes: Tensor, anchors: Tensor) -> Tensor:
        """Edges of boxes ``[..., 4]`` as seen from an anchor's, in its sides."""
        sides = (anchors[..., 2:] - anchors[..., :2]).repeat_interleave(2, -1)
        edges: Tensor = (boxes - anchors) / sides[..., [0, 2, 1, 3]]  # width, height, twice
        return edges

    def divergence(self, mine: Tensor, found: Tensor, shares: Tensor) -> Tensor:
        """``Σ KL(teacher ‖ student)`` over four edges.

        Args:
            mine: the student's edges ``[n, 4]``.
            found: the edges of the teacher's boxes ``[n, M, 4]``.
            shares: weights of those boxes ``[n, M]``.

        Returns:
            ``[n]``.
        """
        shares = shares / shares.sum(1, keepdim=True)
        floor = torch.full_like(found, self.width)
        wanted = (shares[..., None, None] * self._gaussian(found, floor).exp()).sum(1)
        middle = (shares[..., None] * found).sum(1)
        spread = (shares[..., None] * (found - middle[:, None]).pow(2)).sum(1)
        logs = self._gaussian(mine, (spread + self.width**2).sqrt())
        return F.kl_div(logs, wanted, reduction="none").sum((1, 2))

    def _gaussian(self, edges: Tensor, width: Tensor) -> Tensor:
        """Log-probabilities of the bins: ``[..., 4]`` to ``[..., 4, BINS]``."""
        apart = (edges[..., None] - self.bins) / width[..., None]
        return F.log_softmax(-apart.pow(2) / 2, -1)
