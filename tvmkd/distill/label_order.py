"""Whether a teacher has the classes of the data in another order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NAMED = 3  # classes in a message


def best(labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """The order of classes in which most answers are right: int64 ``[classes]``.

    Output ``i`` of the network stands for class ``order[i]``: an assignment on the confusion
    matrix. Of equally good orders, one that leaves more classes in place.

    Args:
        labels: int64 ``[N]``.
        answers: of the network, int64 ``[N]``.
        classes: how many there are.
    """
    from scipy.optimize import linear_sum_assignment

    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (answers, labels), 1.0)
    # Less than one image together: it only breaks ties.
    confusion += np.eye(classes) / (classes + 1)
    order: NDArray[np.int64] = linear_sum_assignment(confusion, maximize=True)[1]
    return order.astype(np.int64)


def text(order: NDArray[np.int64], names: Sequence[str]) -> str:
    """The outputs that stand for other classes than their own, the first few, for messages."""
    moved = [place for place, label in enumerate(order.tolist()) if label != place]
    parts = [f'output {place} is "{names[order[place]]}"' for place in moved[:NAMED]]
    more = len(moved) - len(parts)
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")
