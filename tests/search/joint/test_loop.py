"""The joint search on simulated boards: against MACs, and against a search that tunes last."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
import simulated
from simulated import Board, Space

from tvmkd.base.errors import InputError, MissingError, UsageError
from tvmkd.search.front import hypervolume
from tvmkd.search.joint.ledger import Ledger
from tvmkd.search.joint.loop import JointSearch, Options
from tvmkd.search.joint.proposals import EvolutionProposer
from tvmkd.search.joint.protocols import Predictor, Spent
from tvmkd.search.joint.standing import Network, Standing
from tvmkd.search.structure import Structure

Strategy = Literal["joint", "last", "MACs"]
STRATEGIES: dict[Strategy, dict[str, Any]] = {
    "joint": {},
    "last": {"tune_early": False, "rank_again": False},
    "MACs": {"rank_again": False},
}
TRAININGS, BOARD_SECONDS = 48, 1200.0


def search(
    board: Board,
    ledger: Ledger | None = None,
    *,
    guide: Predictor | None = None,
    events: list[tuple[str, dict[str, Any]]] | None = None,
    past: tuple[Network, ...] = (),
    train: Any = simulated.accuracy,
    space: Space | None = None,
    **options: Any,
) -> JointSearch:
    space = space or Space()
    return JointSearch(
        space,
        EvolutionProposer(space),
        simulated.lower,
        train,
        board,
        ledger or Ledger(60.0, 12),
        Options(**{"choice": 4, "patience": 99, **options}),
        guide=guide,
        past=past,
        emit=lambda name, data: events.append((name, data)) if events is not None else None,
    )


def volume(standing: Standing) -> float:
    """The hypervolume of a front over the logarithm of the latency."""
    seconds, scores = zip(*standing.points, strict=True)
    return hypervolume(scores, np.log(seconds), (0.5, math.log(0.05)))


def compare(gains: Literal["differs", "none"], seeds: int) -> dict[Strategy, np.ndarray]:
    """The hypervolumes of the three strategies, by seed; each has the same budgets."""
    found: dict[Strategy, list[float]] = {name: [] for name in STRATEGIES}
    for seed in range(seeds):
        for name, options in STRATEGIES.items():
            board, ledger = Board(seed, gains), Ledger(BOARD_SECONDS, TRAININGS)
            guide = simulated.Macs() if name == "MACs" else None
            made = search(board, ledger, guide=guide, seed=seed, choice=8, **options)
            found[name].append(volume(made.run()))
            assert ledger.trained == TRAININGS
            assert ledger.board_spent <= BOARD_SECONDS + 1e-6
            if gains == "differs":  # nothing more to gain ends the tuning early
                assert ledger.board_spent > 0.95 * BOARD_SECONDS
    return {name: np.array(each) for name, each in found.items()}


def test_beats_macs_and_tuning_last_where_kernels_tune_differently() -> None:
    found = compare("differs", seeds=3)
    # Of a front's whole range of scores, 0.43, a volume of 0.05 is 11 % of every latency.
    assert (found["joint"] > found["last"]).all()
    assert np.mean(found["joint"] - found["last"]) > 0.05
    assert np.mean(found["joint"] - found["MACs"]) > 0.05


def test_neither_gains_nor_loses_where_first_schedules_are_the_best() -> None:
    found = compare("none", seeds=2)
    assert abs(np.mean(found["joint"] - found["last"])) < 0.02


def test_equal_seeds_find_equal_fronts() -> None:
    ends = [search(Board(), seed=seed).run() for seed in (1, 1, 2)]
    assert ends[0].points == ends[1].points != ends[2].points


def test_a_network_whose_kernels_tune_badly_loses_its_place() -> None:
    """Two networks with like first schedules: the one whose kernels gain takes the front."""
    events: list[tuple[str, dict[str, Any]]] = []
    board = Board(3)
    standing = search(board, Ledger(400.0, 24), events=events, rounds=4).run()
    rounds = [data["standing"] for name, data in events if name == "round"]
    fronts = [{each.networks[i].key for i in each.front} for each in rounds]
    last = {standing.networks[i].key for i in standing.front}
    gone = set().union(*fronts) - last
    scores = {each.key: each.score for each in standing.networks}
    assert gone
    # What has gone is dominated by latencies as they are now; its score is what it was.
    for key in gone:
        index = [each.key for each in standing.networks].index(key)
        seconds = standing.predictions[index].seconds
        assert any(
            standing.predictions[i].seconds <= seconds and standing.networks[i].score >= scores[key]
            for i in standing.front
        )


def test_spends_most_trials_on_the_front() -> None:
    board = Board(1)
    standing = search(board, Ledger(600.0, 16)).run()
    on = {k.key for i in standing.front for k in standing.networks[i].kernels}
    every = {k.key for each in standing.networks for k in each.kernels}
    tried = {key: each.trials for key in every if (each := board.progress(key))}
    assert sum(tried[key] for key in on) > 0.6 * sum(tried.values())
    assert on <= set(tried)


def test_ends_once_the_front_stands_still() -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    board = Board(0, "none")
    space = Space()
    space.choices = {**Space.choices, "width": [16], "depth": [2, 3], "kernel": [3, 5]}
    ledger = Ledger(10_000.0, 500)
    search(board, ledger, space=space, events=events, rounds=50, patience=2).run()
    rounds = [data for name, data in events if name == "round"]
    assert len(rounds) < 20
    assert rounds[-1]["still"] == 2
    assert ledger.board_left > 5_000  # what cannot gain gets no trials
    assert ledger.trained == 32


def test_goes_on_from_what_was_trained_before() -> None:
    first = search(Board(), Ledger(10.0, 8))
    first.run()
    trained: list[Structure] = []

    def train(structure: Structure) -> float:
        trained.append(structure)
        return simulated.accuracy(structure)

    ledger = Ledger(10.0, 12)
    search(Board(), ledger, past=tuple(first.networks), train=train).run()
    assert ledger.trained == 12
    assert len(trained) == 4
    assert not {Space().key(each) for each in trained} & {each.key for each in first.networks}


def test_a_failed_training_costs_one_and_the_rest_goes_on() -> None:
    events: list[tuple[str, dict[str, Any]]] = []

    def train(structure: Structure) -> float:
        if structure["block"] == "depthwise":
            raise InputError("the loss is NaN")
        return simulated.accuracy(structure)

    ledger = Ledger(30.0, 12)
    standing = search(Board(), ledger, train=train, events=events).run()
    failed = [data for name, data in events if name == "failed"]
    assert ledger.trained == 12
    assert 0 < len(failed) == 12 - len(standing.networks)
    assert failed[0]["error"] == "the loss is NaN"


def test_if_all_trainings_fail_it_says_why() -> None:
    def train(structure: Structure) -> float:
        raise InputError("the loss is NaN")

    with pytest.raises(
        InputError, match="no network of the space could be trained: the loss is NaN"
    ):
        search(Board(), train=train).run()


def test_a_board_that_goes_away_leaves_what_was_trained() -> None:
    class Leaving(Board):
        def tune(self, weights: Any, trials: int) -> Spent:
            raise MissingError("no board answers")

    made = search(Leaving())
    with pytest.raises(MissingError):
        made.run()
    assert len(made.networks) == 2  # of the first of six rounds


def test_kernels_that_cannot_be_measured_get_no_more_trials() -> None:
    calls: list[set[str]] = []

    class Failing(Board):
        def tune(self, weights: Any, trials: int) -> Spent:
            calls.append(set(weights))
            return Spent(trials * 1.0, trials)  # all of them fail

    ledger = Ledger(10_000.0, 6)
    search(Failing(), ledger, rounds=2).run()
    assert ledger.board_left > 9_000
    assert sum(map(len, calls)) <= 2 * len(set().union(*calls))


def test_a_budget_draws_the_search_to_it() -> None:
    def middle(budget: float | None) -> float:
        """The median latency of the later half."""
        standing = search(Board(2), Ledger(500.0, 24), budget=budget, seed=5).run()
        return float(np.median([each.seconds for each in standing.predictions[12:]]))

    assert middle(2e-3) < 3e-3 < 6e-3 < middle(None)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"last": 1.5}, {"choice": 0}])
def test_refuses_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Options(**wrong)
