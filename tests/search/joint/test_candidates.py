"""Candidates are new, distinct and can be lowered; a space that ends is no endless loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import simulated

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.search.joint.candidates import Candidates
from tvmkd.search.joint.proposals import EvolutionProposer
from tvmkd.search.joint.standing import Standing
from tvmkd.search.latency.prediction import Kernel
from tvmkd.search.structure import Structure

NOTHING = Standing([], [])


class Small(simulated.Space):
    choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        **simulated.Space.choices,
        "width": [16, 24],
        "depth": [2],
        "expansion": [1, 2],
    }


def candidates(space: simulated.Space, failures: list[str]) -> Candidates:
    def lower(structure: Structure) -> list[Kernel]:
        if structure["kernel"] == 5:
            raise InputError("no 5x5 here")
        return simulated.lower(structure)

    def failed(structure: Structure, error: TvmkdError) -> None:
        failures.append(f"{structure['kernel']}: {error}")

    return Candidates(space, EvolutionProposer(space), lower, failed)


def test_finds_all_of_a_small_space_and_ends() -> None:
    failures: list[str] = []
    made = candidates(Small(), failures)
    pool = made.pool(NOTHING, 1000, np.random.default_rng(0))
    # two blocks, two widths, two expansions, and two kernels of three
    assert len({each.key for each in pool}) == len(pool) == 16
    assert failures == ["5: no 5x5 here"] * 8
    assert made.pool(NOTHING, 1000, np.random.default_rng(1)) != []
    made.tried.update(each.key for each in pool)
    assert made.pool(NOTHING, 1000, np.random.default_rng(1)) == []
    assert len(failures) == 8


def test_takes_no_more_than_asked_for() -> None:
    made = candidates(simulated.Space(), [])
    pool = made.pool(NOTHING, 7, np.random.default_rng(0))
    assert len(pool) == 7
    assert pool[0].kernels == simulated.lower(pool[0].structure)
