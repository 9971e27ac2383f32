"""PKD: Pearson's correlation of feature maps."""

from __future__ import annotations

from torch import Tensor

from tvmkd.distill.detector.terms.term import MapTerm, Seen, register
from tvmkd.distill.distributed import moments

_TINY = 1e-6


@register("pkd")
class PKD(MapTerm):
    """``1 - r`` of each channel, the mean over channels and maps (Cao et al., NeurIPS 2022).

    The paper's form is half the squared distance of maps whose channels have mean 0 and variance 1
    over images and places, which is the same number. Scale and offset of a map have no effect, so
    that networks with different heads can learn from each other. The ``features`` of
    ``[detection]`` are the same distance with more weight inside of boxes.
    """

    def forward(self, seen: Seen) -> Tensor:
        """See `Term`."""
        return super().forward(seen) / len(self.pairs)

    def compare(self, number: int, mine: Tensor, wanted: Tensor, seen: Seen) -> Tensor:
        """See `MapTerm`."""
        return (_normalised(mine) - _normalised(wanted)).pow(2).mean() / 2


def _normalised(feature: Tensor) -> Tensor:
    mean, variance, _ = moments(feature, (0, 2, 3))
    return (feature - mean) / (variance + _TINY).sqrt()
