"""Whether the networks of a space are parts of its largest one, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.search.supernet.networks import Networks

if TYPE_CHECKING:
    from tvmkd.search.supernet.blueprints import Blueprints
    from tvmkd.search.supernet.corners import Corners

DRAWS = 12
"""Random networks that are tried, beside those with one parameter at its smallest."""


def check_nesting(blueprints: Blueprints, ends: Corners, seed: int) -> str | None:
    """Tries some networks of the space: the smallest, those at its edges, and random ones.

    Args:
        blueprints, ends: of the space.
        seed: of the random ones.

    Returns:
        A line about those that cannot be built or are no parts, if they are few: a search leaves
        them out. None: all are parts.

    Raises:
        InputError: the smallest network is no part of the largest, or most are none.
    """
    networks = Networks(blueprints, ends, blueprints.build(ends.largest))
    networks.part(ends.smallest)
    rng = np.random.default_rng(seed)
    tried = [{**ends.largest, name: value} for name, value in ends.smallest.items()]
    tried += [blueprints.space.draw(rng) for _ in range(DRAWS)]
    failed: list[TvmkdError] = []
    for structure in tried:
        try:
            networks.part(structure)
        except TvmkdError as error:
            failed.append(error)
    if not failed:
        return None
    if len(failed) > len(tried) / 2:
        raise InputError(f"most networks of the space share no weights; {failed[0]}")
    return f"{len(failed)} of {len(tried)} networks are left out, the first because {failed[0]}"
