"""Where the names of points stand on a plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

GAP = 14
"""Between a dot and its label, in pixels."""


class Box(NamedTuple):
    """A rectangle in the drawing's pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, x: float, y: float) -> bool:
        """Whether a dot at this place would be in the way."""
        return self.left - 4 < x < self.right + 4 and self.top - 4 < y < self.bottom + 4

    def meets(self, other: Box) -> bool:
        """Whether they overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def free_place(
    at: tuple[float, float],
    text: str,
    dots: Sequence[tuple[float, float]],
    taken: Sequence[Box],
    inside: Box,
) -> tuple[Box, bool]:
    """Where a label covers few dots and no other label; and whether it ends at its dot.

    Args:
        at: the dot that it belongs to.
        text: of the label.
        dots: all dots.
        taken: the labels that are there.
        inside: what it must not leave.
    """
    length, (x, y) = 7.4 * len(text), at
    best: tuple[float, Box, bool] | None = None
    for rank, shift in enumerate((0, -18, 18, -34, 34, -50, 50)):
        for end in (False, True):
            left = x - GAP - length if end else x + GAP
            box = Box(left, y + shift - 9, left + length, y + shift + 9)
            cost = 0.8 * rank + sum(box.holds(*dot) for dot in dots)
            cost += 50.0 * sum(box.meets(other) for other in taken)
            cost += 200.0 * (box.left < inside.left or box.right > inside.right)
            cost += 200.0 * (box.top < inside.top or box.bottom > inside.bottom)
            if best is None or cost < best[0]:
                best = cost, box, end
    assert best is not None
    return best[1], best[2]
