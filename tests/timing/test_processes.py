"""Intervals over processes, on data whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tvmkd.timing import stats
from tvmkd.timing.processes import median_over_processes, ratio_over_processes

Effect = Callable[[np.random.Generator], float]
SIMULATED = 200


def normal(rng: np.random.Generator) -> float:
    """Processes differ by 3%."""
    return float(rng.normal(0, 0.03))


def two_ways(rng: np.random.Generator) -> float:
    """A buffer lies well or it does not: 17% slower in half of the processes."""
    return float(rng.choice([0.0, 0.16]))


def none(_: np.random.Generator) -> float:
    """Only rounds differ."""
    return 0.0


def engine(
    rng: np.random.Generator, effect: Effect, processes: int, rounds: int = 2, ms: float = 1.0
) -> list[list[list[float]]]:
    """Samples of each round of each process: rounds differ by 0.5%, samples by 1%."""
    found = []
    for _ in range(processes):
        centre = ms * np.exp(effect(rng))
        drifts = np.exp(rng.normal(0, 0.005, rounds))
        found.append([list(centre * drift * np.exp(rng.normal(0, 0.01, 9))) for drift in drifts])
    return found


def flat(processes: list[list[list[float]]]) -> list[list[float]]:
    return [one for rounds in processes for one in rounds]


@pytest.mark.parametrize("effect", [normal, two_ways, none])
@pytest.mark.parametrize("processes", [3, 5, 10])
def test_a_against_a_holds_1_in_95_of_100(
    monkeypatch: pytest.MonkeyPatch, effect: Effect, processes: int
) -> None:
    import tvmkd.timing.processes as module

    monkeypatch.setattr(module, "REPLICATES", 300)
    rng = np.random.default_rng([processes, len(effect.__name__)])
    held = 0
    for seed in range(SIMULATED):
        ours, theirs = engine(rng, effect, processes), engine(rng, effect, processes)
        _, (low, high) = ratio_over_processes(ours, theirs, seed)
        held += low <= 1 <= high
    assert held / SIMULATED >= 0.95


def test_rounds_of_one_process_do_not_know_what_another_would_do() -> None:
    """Why one process for each engine was not enough."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(60):
        ours, theirs = engine(rng, normal, 1, rounds=10), engine(rng, normal, 1, rounds=10)
        _, (low, high) = stats.ratio_ci(ours[0], theirs[0], seed)
        held += low <= 1 <= high
    assert held / 60 < 0.5


@pytest.mark.parametrize("truth", [0.5, 1.0, 1.2])
def test_the_truth_is_in_the_interval(truth: float) -> None:
    rng = np.random.default_rng(5)
    ratio, (low, high) = ratio_over_processes(
        engine(rng, normal, 10, ms=truth), engine(rng, normal, 10)
    )
    assert low < truth < high
    assert low < ratio < high
    assert high / low < 1.12


def test_more_processes_make_the_interval_narrower() -> None:
    rng = np.random.default_rng(6)
    widths = []
    for count in (3, 5, 10, 20):
        pairs = [(engine(rng, normal, count), engine(rng, normal, count)) for _ in range(20)]
        intervals = [ratio_over_processes(ours, theirs)[1] for ours, theirs in pairs]
        widths.append(np.mean([np.log(high / low) for low, high in intervals]))
    assert widths == sorted(widths, reverse=True)


def test_each_process_has_the_same_weight() -> None:
    quick, slow = [[1.0] * 5] * 2, [[4.0] * 500] * 2
    median, (low, high) = median_over_processes([quick, slow])
    assert median == pytest.approx(2.0)
    assert low < 1.0 < 4.0 < high


def test_without_any_difference_the_interval_is_a_point() -> None:
    same = [[[2.0] * 5] * 2] * 3
    median, interval = median_over_processes(same)
    assert (median, *interval) == pytest.approx((2.0, 2.0, 2.0))
    ratio, interval = ratio_over_processes(same, [[[1.0] * 3] * 2] * 3)
    assert (ratio, *interval) == pytest.approx((2.0, 2.0, 2.0))


def test_a_drift_that_both_share_is_no_difference() -> None:
    drift = [1.0, 1.5, 0.7]
    ours = [[[2.0 * each] * 5] * 2 for each in drift]
    theirs = [[[each] * 5] * 2 for each in drift]
    ratio, interval = ratio_over_processes(ours, theirs)
    assert (ratio, *interval) == pytest.approx((2.0, 2.0, 2.0))


def test_what_does_not_pair_up_is_an_error() -> None:
    two, three = [[[1.0]] * 2] * 2, [[[1.0]] * 2] * 3
    for ours, theirs in ((two, three), (two, [[[1.0]] * 2, [[1.0]]])):
        with pytest.raises(ValueError, match="do not pair up"):
            ratio_over_processes(ours, theirs)
    with pytest.raises(ValueError, match="one process says nothing"):
        ratio_over_processes([[[1.0]]], [[[1.0]]])
