"""Proposers learn the past anew, and better than chance."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
import simulated

from tvmkd.search.joint.proposals import EvolutionProposer, StudyProposer
from tvmkd.search.joint.protocols import Scored
from tvmkd.search.structure import Structure

SPACE = simulated.Space()


def past(favourite: str, count: int = 30) -> list[tuple[Structure, Scored]]:
    """Networks of which one block is ten times as fast as the other."""
    rng = np.random.default_rng(0)
    drawn = [SPACE.draw(rng) for _ in range(count)]
    return [
        (each, ((1.0 if each["block"] == favourite else 10.0) * each["width"], each["width"] / 64))
        for each in drawn
    ]


def blocks(proposer: StudyProposer | EvolutionProposer, count: int = 24) -> list[str]:
    return [proposer.ask()["block"] for _ in range(count)]


@pytest.mark.parametrize("make", [StudyProposer, EvolutionProposer])
def test_follows_corrected_latencies(
    make: type[StudyProposer | EvolutionProposer], recwarn: pytest.WarningsRecorder
) -> None:
    proposer = make(SPACE)
    proposer.restart(past("depthwise"), 0)
    assert blocks(proposer).count("depthwise") > 14
    proposer.restart(past("bottleneck"), 1)
    assert blocks(proposer).count("bottleneck") > 14
    assert not [each for each in recwarn if "tvmkd" in each.filename]


@pytest.mark.parametrize("make", [StudyProposer, EvolutionProposer])
def test_equal_seeds_propose_alike(make: type[StudyProposer | EvolutionProposer]) -> None:
    answers = []
    for seed in (3, 3, 4):
        proposer = make(SPACE)
        proposer.restart(past("depthwise"), seed)
        answers.append([proposer.ask() for _ in range(8)])
    assert answers[0] == answers[1] != answers[2]


def test_starts_at_random_and_leaves_optunas_messages_as_they_are() -> None:
    before = optuna.logging.get_verbosity()
    proposer = StudyProposer(SPACE)
    proposer.restart([], 0)
    assert len({SPACE.key(proposer.ask()) for _ in range(8)}) == 8
    assert optuna.logging.get_verbosity() == before
