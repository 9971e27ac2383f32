"""CrossKD: what the teacher's head makes of what the student's head computes on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import generalized_box_iou_loss

from tvmkd.base.errors import InputError
from tvmkd.distill.detector.losses import foreground
from tvmkd.distill.detector.terms.term import Seen, Term, pairs_or_raise, register
from tvmkd.distill.distributed import moments, normaliser
from tvmkd.models.detectors import BOX_WEIGHTS, Dense

KINDS = ("classes", "boxes")
_TINY = 1e-6


@dataclass(frozen=True)
class Tower:
    """The layers of a head for one feature map: hidden ones, then the convolution of outputs.

    Attributes:
        hidden: each a convolution, a norm if there is one, and an activation.
        last: the convolution of all anchors' outputs.
        columns: outputs of an anchor.
    """

    hidden: Sequence[nn.Sequential]
    last: nn.Conv2d
    columns: int

    def before(self, feature: Tensor, layer: int) -> Tensor:
        """The feature map to what hidden layer ``layer`` (from 1) gives its activation."""
        for block in self.hidden[: layer - 1]:
            feature = block(feature)
        for part in list(self.hidden[layer - 1])[:-1]:
            feature = part(feature)
        return feature

    def after(self, feature: Tensor, layer: int) -> Tensor:
        """From there to the outputs ``[N, anchors, columns]``, in the order of `Dense`."""
        feature = self.hidden[layer - 1][-1](feature.clone())  # it may work in place
        for block in self.hidden[layer:]:
            feature = block(feature)
        found: Tensor = self.last(feature).float()
        count, _, height, width = found.shape
        found = found.view(count, -1, self.columns, height, width)
        return found.permute(0, 3, 4, 1, 2).reshape(count, -1, self.columns)


@register("crosskd")
class CrossKD(Term):
    """Cross-head distillation (Wang et al., CVPR 2024).

    What a hidden layer of the student's head gives goes on through the rest of the teacher's head.
    The loss compares these predictions with the teacher's own, which come from the same layers, so
    that the student's last layer, which learns from the labels, need not serve two aims:

    - classes: quality focal loss, ``|p - t|^beta · BCE(p, t)``, for a teacher with a sigmoid; for
      one with a softmax its counterpart, ``(½ Σ|p - t|)^beta · KL(t ‖ p)``;
    - boxes: GIoU loss, weighted by the teacher's confidence.

    Both are sums over the anchors of the teacher, divided by its confidence in all of them. As in
    the authors' code the student's channels first get the mean and variance of the teacher's. Heads
    of RetinaNet and of SSDLite can be crossed with themselves and with each other: they are towers
    of convolutions that keep the map's size. Where the widths differ, a 1x1 convolution adapts
    them; where the depths differ, the student's layer ``layer``, or its last hidden one, stands for
    the teacher's. The paper crosses equal heads only.

    The teacher's predictions are computed from its kept feature maps, by its head alone.

    Args:
        student, teacher: detectors of the same classes.
        layer: hidden layer of the head, from 1; the paper's best of RetinaNet's four is 3.
        beta: exponent of the focal factor.
        classes, boxes: weights of the parts.

    Raises:
        InputError: a head has no such towers, ``layer`` is below 1, or no maps have equal sizes.
    """

    def __init__(
        self,
        student: Dense,
        teacher: Dense,
        *,
        layer: int = 3,
        beta: float = 1.0,
        classes: float = 1.0,
        boxes: float = 1.0,
    ) -> None:
        super().__init__()
        if layer < 1:
            raise InputError(f"crosskd: layer has to be 1 or more, not {layer}")
        self.beta, self.weights = beta, {"classes": classes, "boxes": boxes}
        self.pairs = pairs_or_raise(student, teacher, "crosskd")
        self.wanted = tuple(place for _, (place, _) in self.pairs)
        # In closures and tuples: what were a part of this module would be trained and saved.
        self._teacher = (teacher,)
        self._coder = BoxCoder(BOX_WEIGHTS[teacher.activation])
        own, self._towers = towers(student, "student"), towers(teacher, "teacher")
        self._layers = {kind: min(layer, len(self._towers[kind][0].hidden)) for kind in KINDS}
        self._held: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
        self._hooks = [cast(nn.Module, student.head).register_forward_pre_hook(_clear(self._held))]
        self.adapters = nn.ModuleDict()
        for kind in KINDS:
            at = min(layer, len(own[kind][0].hidden))
            taps = [tower.hidden[at - 1][-2] for tower in own[kind]]
            for module in dict.fromkeys(taps):
                hook = _hold(self._held[kind])
                self._hooks.append(module.register_forward_hook(hook))
            self.adapters[kind] = nn.ModuleList(
                self._adapter(kind, own[kind][mine].hidden[at - 1], other)
                for (mine, _), (other, _) in self.pairs
            )
        self._first = _starts(teacher, self._towers["boxes"])

    def _adapter(self, kind: str, hidden: nn.Sequential, other: int) -> nn.Module:
        block = self._towers[kind][other].hidden[self._layers[kind] - 1]
        mine, wanted = _width(hidden), _width(block)
        # No bias: the means are the teacher's afterwards.
        return nn.Identity() if mine == wanted else nn.Conv2d(mine, wanted, 1, bias=False)

    def forward(self, seen: Seen) -> Tensor:
        """See `Term`."""
        teacher, softmax = self._teacher[0], self._teacher[0].activation == "softmax"
        total = seen.output.logits.new_zeros(())
        weight = total.clone()
        for number, ((at, _), (other, _)) in enumerate(self.pairs):
            crossed, wanted = self._cross("classes", number, at, seen.maps[other])
            sure, _ = foreground(teacher.answers(wanted), softmax)
            weight = weight + sure.sum()
            apart = self._softmax if softmax else self._sigmoid
            part = apart(teacher.answers(crossed), teacher.answers(wanted))
            total = total + self.weights["classes"] * part
            if self.weights["boxes"]:
                crossed, wanted = self._cross("boxes", number, at, seen.maps[other])
                part = self._boxes(crossed, wanted, sure, self._first[other])
                total = total + self.weights["boxes"] * part
        return total / normaliser(weight)

    def close(self) -> None:
        """See `Term`."""
        for hook in self._hooks:
            hook.remove()
        for held in self._held.values():
            held.clear()

    def _cross(self, kind: str, number: int, at: int, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Of a pair of maps the crossed predictions, and the teacher's own from its ``feature``."""
        tower, layer = self._towers[kind][self.pairs[number][1][0]], self._layers[kind]
        mine = cast(nn.ModuleList, self.adapters[kind])[number](self._held[kind][at])
        with torch.no_grad():
            hidden = tower.before(feature, layer)
            wanted = tower.after(hidden, layer)
        return tower.after(aligned(mine.float(), hidden.float()), layer), wanted

    def _sigmoid(self, crossed: Tensor, wanted: Tensor) -> Tensor:
        target = wanted.sigmoid()
        apart = F.binary_cross_entropy_with_logits(crossed, target, reduction="none")
        return ((crossed.sigmoid() - target).abs().pow(self.beta) * apart).sum()

    def _softmax(self, crossed: Tensor, wanted: Tensor) -> Tensor:
        mine, target = F.log_softmax(crossed, -1), F.softmax(wanted, -1)
        apart = F.kl_div(mine, target, reduction="none").sum(-1)
        far = (mine.exp() - target).abs().sum(-1) / 2
        return (far.pow(self.beta) * apart).sum()

    def _boxes(self, crossed: Tensor, wanted: Tensor, sure: Tensor, first: int) -> Tensor:
        count, some, _ = crossed.shape
        anchors = self._teacher[0].anchors[first : first + some].repeat(count, 1)
        mine, other = (
            self._coder.decode_single(offsets.reshape(-1, 4), anchors)
            for offsets in (crossed, wanted)
        )
        apart: Tensor = generalized_box_iou_loss(mine, other, reduction="none")
        return (sure.reshape(-1) * apart).sum()


def towers(network: Dense, role: str) -> dict[str, list[Tower]]:
    """The towers of a detector's head for classes and for boxes, one a feature map.

    Args:
        network: a detector.
        role: for the message.

    Raises:
        InputError: its head is not RetinaNet's or SSDLite's.
    """
    head = cast(Any, getattr(network, "head", None))
    found: dict[str, list[Tower]] = {}
    maps = len(_look(network))
    names = (("classes", "classification_head"), ("boxes", "regression_head"))
    for kind, name in names:
        part: Any = getattr(head, name, None)
        if hasattr(part, "module_list"):
            blocks = [(list(block[:-1]), block[-1]) for block in part.module_list]
            columns = part.num_columns
        elif hasattr(part, "conv"):
            last = part.cls_logits if kind == "classes" else part.bbox_reg
            blocks = [(list(part.conv), last)] * maps
            columns = part.num_classes if kind == "classes" else 4
        else:
            blocks, columns = [], 0
        whole = all(
            isinstance(last, nn.Conv2d)
            and hidden
            and all(isinstance(layer, nn.Sequential) and len(layer) > 1 for layer in hidden)
            for hidden, last in blocks
        )
        if len(blocks) != maps or not whole:
            raise InputError(
                f"crosskd: the {role}'s head is a {type(head).__name__}, which has no hidden "
                "layers for each feature map as RetinaNet's and SSDLite's have; leave crosskd out"
            )
        found[kind] = [Tower(hidden, last, columns) for hidden, last in blocks]
    return found


def aligned(mine: Tensor, wanted: Tensor) -> Tensor:
    """A map with the mean and variance that each channel of another one has."""
    mean, variance, _ = moments(mine, (0, 2, 3))
    other, spread, _ = moments(wanted, (0, 2, 3))
    return (mine - mean) / (variance + _TINY).sqrt() * spread.sqrt() + other


def _look(network: Dense) -> list[Tensor]:
    mode = network.training
    with torch.no_grad():
        found = network.eval().look(network.blank)
    network.train(mode)
    return found


def _starts(network: Dense, boxes: Sequence[Tower]) -> list[int]:
    """The first anchor of each map."""
    counts = [
        feature.shape[-2] * feature.shape[-1] * tower.last.out_channels // tower.columns
        for feature, tower in zip(_look(network), boxes, strict=True)
    ]
    return [sum(counts[:place]) for place in range(len(counts))]


def _width(hidden: nn.Sequential) -> int:
    """Channels of a hidden layer."""
    last = [module for module in hidden.modules() if isinstance(module, nn.Conv2d)][-1]
    return last.out_channels


# Closures, not methods: a copy of the student must not bring a copy of the loss.
def _clear(held: dict[str, list[Tensor]]) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        for one in held.values():
            one.clear()

    return hook


def _hold(held: list[Tensor]) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        held.append(output.clone())  # the activation may work in place

    return hook
