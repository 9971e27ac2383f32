"""Splits a data set by fractions where it is not split yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tvmkd.data.pictures import P

if TYPE_CHECKING:
    from tvmkd.config import Data

Listing = Sequence[tuple[P, int]]
"""Pictures with their class numbers, in a fixed order."""


def divide(cfg: Data, found: Mapping[str, Listing[P]]) -> dict[str, Listing[P]]:
    """The pictures of ``train``, ``val`` and ``test``.

    If only one of ``val`` and ``test`` has pictures, it becomes the test split, and a validation
    split is taken from ``train``.

    Args:
        cfg: ``val_fraction``, ``test_fraction`` and ``split_seed``.
        found: ``all``, or ``train`` and perhaps ``val`` and ``test``.
    """
    rng = np.random.default_rng(cfg.split_seed)
    if "all" in found:
        test, rest = _take(found["all"], cfg.test_fraction, rng)
        val, train = _take(rest, cfg.val_fraction / (1 - cfg.test_fraction), rng)
        return {"train": train, "val": val, "test": test}
    train, val, test = (found.get(name, ()) for name in ("train", "val", "test"))
    if val and test:
        return {"train": train, "val": val, "test": test}
    test = test or val
    if not test:
        test, train = _take(train, cfg.test_fraction, rng)
    val, train = _take(train, cfg.val_fraction, rng)
    return {"train": train, "val": val, "test": test}


def _take(
    files: Listing[P], fraction: float, rng: np.random.Generator
) -> tuple[Listing[P], Listing[P]]:
    """Takes ``fraction`` of each class (at least one image of two); returns taken, left."""
    labels = np.array([label for _, label in files])
    taken: set[int] = set()
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = max(1, round(len(members) * fraction)) if len(members) > 1 else 0
        taken.update(int(index) for index in members[: min(count, len(members) - 1)])
    return (
        [entry for index, entry in enumerate(files) if index in taken],
        [entry for index, entry in enumerate(files) if index not in taken],
    )
