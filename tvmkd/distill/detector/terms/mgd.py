"""MGD: the teacher's feature map is generated from a masked one of the student."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.distill.detector.terms.term import MapTerm, Seen, register
from tvmkd.models.detectors import Dense


@register("mgd")
class MGD(MapTerm):
    """``alpha · Σ (T - G(M · f(S)))²`` of each image (Yang et al., ECCV 2022).

    ``f`` adapts the channels, ``M`` is 0 in random cells of each map and image and 1 in the others,
    ``G`` is a 3x3 convolution, ReLU and another one. Sums are over channels and cells, so the loss
    grows with the image: ``alpha`` is the paper's for one-stage detectors at 800 pixels.

    Args:
        student, teacher: detectors of the same classes.
        alpha: factor of the sum.
        share: of the cells that are masked, 0 to 1; the paper's for one-stage detectors.

    Raises:
        InputError: ``share`` is out of range, or as `MapTerm`.
    """

    def __init__(
        self, student: Dense, teacher: Dense, *, alpha: float = 2e-5, share: float = 0.65
    ) -> None:
        super().__init__(student, teacher)
        if not 0 <= share < 1:
            raise InputError(f"mgd: share has to be 0 to below 1, not {share:g}")
        self.alpha, self.share = alpha, share
        self.generators = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _, (_, width) in self.pairs
        )

    def compare(self, number: int, mine: Tensor, wanted: Tensor, seen: Seen) -> Tensor:
        """See `MapTerm`."""
        count, _, height, width = mine.shape
        kept = torch.rand(count, 1, height, width, device=mine.device) >= self.share
        made: Tensor = self.generators[number](mine * kept).float()
        return self.alpha * (made - wanted).pow(2).sum() / count
