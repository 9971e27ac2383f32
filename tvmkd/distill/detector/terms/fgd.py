"""FGD: feature maps where the teacher looks, and the relations between places."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - what torch users call it
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.data.detection.dataset import Target
from tvmkd.distill.detector.terms.term import MapTerm, Seen, register
from tvmkd.models.detectors import Dense


@register("fgd")
class FGD(MapTerm):
    """Focal and global distillation (Yang et al., CVPR 2022): the sum, for each map, of

    - ``foreground · Σ M S A_space A_channel (T - f(S))²`` inside of boxes and ``background`` times
      the same outside; ``A`` are the teacher's attentions (`attention`), and ``S`` weighs each box
      and the background alike, however large they are (`scales`);
    - ``attention · Σ |A of the student - A of the teacher|``, of space and of channels;
    - ``relation · Σ (R(T) - R(f(S)))²``, where ``R`` adds to each place what a `GlobalContext`
      block sees in the whole map.

    Each is a mean over images. The defaults are the paper's for RetinaNet.

    Args:
        student, teacher: detectors of the same classes.
        temperature: of both attentions.
        foreground, background, attention, relation: weights of the parts.

    Raises:
        InputError: ``temperature`` is not above 0, or as `MapTerm`.
    """

    def __init__(
        self,
        student: Dense,
        teacher: Dense,
        *,
        temperature: float = 0.5,
        foreground: float = 1e-3,
        background: float = 5e-4,
        attention: float = 1e-3,
        relation: float = 5e-6,
    ) -> None:
        super().__init__(student, teacher)
        if not temperature > 0:
            raise InputError(f"fgd: temperature has to be above 0, not {temperature:g}")
        self.temperature = temperature
        self.foreground, self.background = foreground, background
        self.attention, self.relation = attention, relation
        self._size = student.size
        widths = [width for _, (_, width) in self.pairs]
        self.mine = nn.ModuleList(map(GlobalContext, widths))
        self.other = nn.ModuleList(map(GlobalContext, widths))

    def compare(self, number: int, mine: Tensor, wanted: Tensor, seen: Seen) -> Tensor:
        """See `MapTerm`."""
        count = len(mine)
        space, channel = attention(wanted, self.temperature)
        own_space, own_channel = attention(mine, self.temperature)
        inside, outside = scales(seen.targets, self._size, mine.shape[-2:])
        weight = self.foreground * inside + self.background * outside
        weight = weight.to(mine.device) * space
        apart = (mine - wanted).pow(2) * channel[..., None, None] * weight[:, None]
        focal = apart.sum()
        alike = (own_space - space).abs().sum() + (own_channel - channel).abs().sum()
        related: Tensor = (
            (self.other[number](wanted) - self.mine[number](mine)).float().pow(2).sum()
        )
        total: Tensor = focal + self.attention * alike + self.relation * related
        return total / count


def attention(feature: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Where a map is large: of places ``[N, h, w]`` and of channels ``[N, C]``, each of mean 1.

    A softmax, at a temperature, of the mean absolute value over channels and over places.
    """
    count, channels, height, width = feature.shape
    size = feature.abs()
    space = F.softmax(size.mean(1).flatten(1) / temperature, 1) * (height * width)
    channel = F.softmax(size.mean((2, 3)) / temperature, 1) * channels
    return space.reshape(count, height, width), channel


def scales(targets: Sequence[Target], size: int, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weights of places by which each object counts as much as any other, and as the background.

    Inside of a box one over its number of cells, of the smallest box where several overlap; outside
    one over the number of cells that no box touches.

    Args:
        targets: boxes in pixels of an input of ``size`` pixels a side.
        size: pixels.
        shape: height and width of the map.

    Returns:
        Two ``[N, h, w]``, inside and outside; each is 0 where the other one is not.
    """
    height, width = shape
    inside = torch.zeros(len(targets), height, width)
    for mask, target in zip(inside, targets, strict=True):
        scale = torch.tensor([width, height, width, height]) / size
        for x1, y1, x2, y2 in (target["boxes"].cpu() * scale).tolist():
            cells = mask[int(y1) : math.ceil(y2), int(x1) : math.ceil(x2)]
            if cells.numel():
                cells.clamp_(min=1 / cells.numel())
    outside = (inside == 0).float()
    return inside, outside / outside.sum((1, 2), keepdim=True).clamp_min(1)


class GlobalContext(nn.Module):
    """The block of GCNet (Cao et al., 2019): ``x + W2 ReLU(LN(W1 Σ softmax(Wk x) x))``.

    It starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.where = nn.Conv2d(channels, 1, 1)
        last = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.change = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.LayerNorm([inner, 1, 1]), nn.ReLU(), last
        )

    def forward(self, feature: Tensor) -> Tensor:
        """``[N, C, h, w]`` to the same shape."""
        weight = F.softmax(self.where(feature).flatten(2).float(), -1)
        context = (feature.flatten(2) * weight).sum(-1)
        changed: Tensor = feature + self.change(context[..., None, None])
        return changed
