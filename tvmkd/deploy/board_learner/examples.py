"""Remembered examples: features in half precision, with their labels, in memory of fixed size."""

from typing import Any, Tuple

import numpy as np

from .draws import Draws

MAX_HALF = 65504.0


class Examples:
    """Room for a number of examples; it is class-balanced as soon as it is full.

    The reservoir of Chrysakis and Moens (ICML 2020): a class that has fewer places than the largest
    one takes a place of the largest; within the largest classes every example that came has the
    same chance to be kept.

    Args:
        room: examples.
        features: of an example.
        limit: classes at most.

    Attributes:
        count: examples that are kept.
        labels: uint16 ``[room]``.
        features: float16 ``[room, features]``.
        seen: uint32 ``[limit]``, examples of each class that came.
    """

    def __init__(self, room: int, features: int, limit: int) -> None:
        self.count = 0
        self.labels = np.zeros(room, np.uint16)
        self.features = np.zeros((room, features), np.float16)
        self.seen = np.zeros(limit, np.uint32)

    def append(self, row: Any, label: int) -> None:
        """Keeps an example; there has to be room."""
        self.labels[self.count], self.features[self.count] = label, row
        self.count += 1

    def offer(self, row: Any, label: int, draws: Draws) -> None:
        """Keeps an example, or replaces one with it, or forgets it."""
        self.seen[label] += 1
        if self.count < len(self.labels):
            self.append(row, label)
            return
        if not self.count:
            return
        kept = np.bincount(self.labels[: self.count], minlength=len(self.seen))
        if kept[label] < kept.max():
            largest = [each for each in range(len(kept)) if kept[each] == kept.max()]
            loser = largest[draws.below(len(largest))]
            place = draws.below(int(kept[loser]))
        else:
            loser, place = label, draws.below(int(self.seen[label]))
            if place >= kept[label]:
                return
        at = np.flatnonzero(self.labels[: self.count] == loser)[place]
        self.labels[at], self.features[at] = label, row

    def rows(self) -> Tuple[Any, Any]:
        """Features as float32 ``[count, features]`` and labels as int64 ``[count]``."""
        some = slice(self.count)
        return self.features[some].astype(np.float32), self.labels[some].astype(np.int64)

    def copy(self) -> "Examples":
        """An independent copy."""
        made = Examples(len(self.labels), self.features.shape[1], len(self.seen))
        made.count, made.labels = self.count, self.labels.copy()
        made.features, made.seen = self.features.copy(), self.seen.copy()
        return made
