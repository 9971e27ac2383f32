"""The scheduler's rule by hand, at its edges, and how whole runs share their batches."""

from __future__ import annotations

import numpy as np
import pytest

from tvmkd.tuning import scheduler as module
from tvmkd.tuning.scheduler import TaskScheduler, TaskState, expected_gain

INF = float("inf")


class Draws:
    """A random generator whose next numbers are given."""

    def __init__(self, *numbers: float) -> None:
        self._numbers = list(numbers)
        self.choices: list[list[int]] = []

    def random(self) -> float:
        return self._numbers.pop(0) if self._numbers else 1.0

    def choice(self, values: list[int]) -> int:
        self.choices.append(values)
        return values[-1]


def chosen(scheduler: TaskScheduler, *numbers: float) -> int | None:
    return scheduler.next(Draws(*numbers))  # type: ignore[arg-type]


def play(scheduler: TaskScheduler, bests: list[list[float | None]], rounds: int) -> list[int]:
    """Runs a scheduler against curves of bests; returns how many batches each task got."""
    rng = np.random.default_rng(0)
    counts = [0] * len(bests)
    for _ in range(rounds):
        index = scheduler.next(rng)
        assert index is not None
        curve = bests[index]
        scheduler.record(index, curve[min(counts[index], len(curve) - 1)])
        counts[index] += 1
    return counts


def falling(start: float) -> list[float | None]:
    """A task that each batch makes a little faster."""
    return [start * 0.98**count for count in range(80)]


def test_every_task_gets_a_batch_first() -> None:
    scheduler = TaskScheduler([(1, 1, "dense"), (100, 1, "dense"), (1, 1, "conv2d")])
    assert play(scheduler, [[1.0], [1.0], [1.0]], 3) == [1, 1, 1]


def test_what_weighs_more_gets_more() -> None:
    scheduler = TaskScheduler([(1, 0, "a"), (20, 0, "b")])
    counts = play(scheduler, [falling(1.0), falling(1.0)], 60)
    assert counts[1] > 3 * counts[0]


def test_a_task_far_below_its_peers_gets_more() -> None:
    # Same work and kind, but the second runs it a hundred times slower.
    scheduler = TaskScheduler([(1, 1e6, "conv2d"), (1, 1e6, "conv2d")])
    counts = play(scheduler, [falling(1e-4), falling(1e-2)], 40)
    assert counts[1] > 3 * counts[0]


def test_a_task_that_never_succeeds_does_not_eat_the_budget() -> None:
    scheduler = TaskScheduler([(1000, 1, "a"), (1, 1, "b")])
    counts = play(scheduler, [[None], falling(1.0)], 60)
    assert 3 <= counts[0] <= 10


def test_dropped_tasks_get_nothing_and_the_end_is_none() -> None:
    rng = np.random.default_rng(0)
    scheduler = TaskScheduler([(1, 1, "a"), (1, 1, "b")])
    scheduler.drop(0)
    assert play(scheduler, [[1.0], falling(1.0)], 20) == [0, 20]
    scheduler.drop(1)
    assert scheduler.next(rng) is None


def test_earlier_batches_count() -> None:
    scheduler = TaskScheduler([(1, 0, "a"), (1, 0, "b")])
    scheduler.resume(0, 1.0, 5)
    assert scheduler.next(np.random.default_rng(0)) == 1


def test_batches_on_their_way_count_so_that_many_boards_get_many_tasks() -> None:
    rng = np.random.default_rng(0)
    scheduler = TaskScheduler([(1, 1, "a")] * 6)
    chosen = []
    for _ in range(6):
        index = scheduler.next(rng)
        assert index is not None
        scheduler.begin(index)
        chosen.append(index)
    assert sorted(chosen) == list(range(6))
    scheduler.record(3, 1.0)
    scheduler.record(4, 0.5)
    assert scheduler.next(rng) == 3, "the one known to be slow, not one that is still on its way"


def test_the_constants_are_what_the_docs_say() -> None:
    assert (module.ALPHA, module.BETA, module.WINDOW) == (0.2, 2.0, 3)
    assert (module.EPSILON, module.GIVE_UP) == (0.05, 3)
    assert (module.NOTHING, module.ENOUGH) == (0.01, 0.001)


def test_tuning_ends_where_nothing_is_gained() -> None:
    rng = np.random.default_rng(0)
    scheduler = TaskScheduler([(1, 0, "a"), (1, 0, "b")])
    batches = 0
    while (index := scheduler.next(rng)) is not None:
        scheduler.record(index, 1.0)
        batches += 1
        assert batches < 40
    assert batches > 8, "not before either had several"
    assert scheduler.nothing_to_gain()
    scheduler.record(0, 0.5)
    assert not scheduler.nothing_to_gain()
    assert TaskScheduler([(1, 0, "a")]).nothing_to_gain() is False, "nothing is known yet"


@pytest.mark.parametrize(
    ("bests", "in_flight", "gain"),
    [
        ([], 0, INF),
        ([None], 0, INF),
        ([None, None], 0, INF),
        ([None, None, None], 0, 0.0),
        ([None], 1, 0.0),
        ([None, None], 1, 0.0),
    ],
)
def test_a_task_without_a_success_comes_first_until_it_has_had_three_batches(
    bests: list[float | None], in_flight: int, gain: float
) -> None:
    assert expected_gain(TaskState(1, 0, "a", bests, in_flight=in_flight), []) == gain


@pytest.mark.parametrize(
    ("bests", "in_flight", "weight", "gain"),
    [
        ([6.0], 0, 1, 0.8 * 6 / 1),
        ([6.0, 6.0], 0, 1, 0.8 * 6 / 2 / 2),  # nothing gained: half of it
        ([9.0, 6.0, 5.95], 0, 1, 0.8 * 5.95 / 3 / 2),
        ([6.0, 6.0, 6.0], 0, 1, 0.8 * 6 / 3 / 4),
        ([6.0], 1, 1, 0.8 * 6 / 2),
        ([6.0], 2, 1, 0.8 * 6 / 3),
        ([6.0], 0, 5, 5 * 0.8 * 6),
        # Three batches tell of no gradient yet, four do: of the last three steps.
        ([9.0, 8.0, 6.0], 0, 1, 0.8 * 2),
        ([12.0, 9.0, 8.0, 6.0], 0, 1, 0.2 * (12 - 6) / 3 + 0.8 * 6 / 4),
        ([99.0, 12.0, 9.0, 8.0, 6.0], 0, 10, 10 * (0.2 * (12 - 6) / 3 + 0.8 * 6 / 5)),
        ([None, 9.0, 8.0, 6.0], 0, 1, 0.8 * 6 / 4),
    ],
)
def test_the_gain_is_weight_times_gradient_and_hope(
    bests: list[float | None], in_flight: int, weight: float, gain: float
) -> None:
    state = TaskState(weight, 0, "a", bests, in_flight=in_flight)
    assert expected_gain(state, []) == pytest.approx(gain)


def test_what_falls_promises_more_than_what_is_flat() -> None:
    falling, flat = [TaskState(1, 0, "a", [start, 9, 7, 6]) for start in (12.0, 6.0)]
    assert expected_gain(falling, []) > expected_gain(flat, [])


@pytest.mark.parametrize(
    ("flop", "peers", "gain"),
    [
        (8.0, [4.0, 2.0], 0.8 * (2.0 - 8 / 4 / 2)),  # twice the best throughput: 1 s to gain
        (8.0, [2.0, 4.0, 1.0], 0.8 * (2.0 - 8 / 4 / 2)),
        (8.0, [100.0, 4.0], 0.8 * (2.0 - 8 / 100 / 2)),
        (8.0, [2.0, 1.0], 0.0),  # already at twice what its kind reaches
        (8.0, [1.0, 1.5], 0.0),  # beyond it: no negative gain
        (8.0, [4.0], 0.8 * 2.0),  # it has no peer but itself
        (0.0, [4.0, 2.0], 0.8 * 2.0),  # its own work is unknown
        (1.0, [0.25, 0.5], 0.8 * (2.0 - 1 / 0.5 / 2)),
    ],
)
def test_the_peers_bound_what_a_task_may_still_gain(
    flop: float, peers: list[float], gain: float
) -> None:
    state = TaskState(1, flop, "a", [2.0])
    assert expected_gain(state, peers) == pytest.approx(gain)


def test_the_bound_never_raises_the_guess() -> None:
    state = TaskState(1, 8.0, "a", [2.0] * 3)
    assert expected_gain(state, [1000.0, 4.0]) == pytest.approx(0.8 * 2 / 3 / 4)


def test_only_tasks_of_the_same_kind_with_known_work_and_a_success_are_peers() -> None:
    def after_one_batch(*others: tuple[float, str, float | None]) -> int | None:
        tasks = [(1.0, 8.0, "dense"), (1.0, 0.0, "last"), *((1e-9, f, k) for f, k, _ in others)]
        scheduler = TaskScheduler(tasks)
        for index, best in enumerate([8.0, 5.0, *(best for _, _, best in others)]):
            scheduler.record(index, best)
        return chosen(scheduler)

    assert after_one_batch() == 0
    assert after_one_batch((8.0, "dense", 8.0)) == 1, "a peer shows how little is left to gain"
    assert after_one_batch((0.5, "dense", 0.5)) == 1, "whatever its size"
    assert after_one_batch((8.0, "conv2d", 8.0)) == 0
    assert after_one_batch((0.0, "dense", 8.0)) == 0
    assert after_one_batch((-8.0, "dense", 8.0)) == 0


def test_a_task_without_a_success_is_no_peer() -> None:
    scheduler = TaskScheduler([(1, 8, "dense"), (1, 8, "dense"), (1, 0, "x")])
    for index, best in enumerate([8.0, None, 7.0]):
        for _ in range(3):
            scheduler.record(index, best)
    assert chosen(scheduler) == 0


@pytest.mark.parametrize(("begun", "recorded", "first"), [(1, 1, 0), (2, 1, 1), (3, 2, 1)])
def test_each_record_takes_one_batch_off_what_is_in_flight(
    begun: int, recorded: int, first: int
) -> None:
    scheduler = TaskScheduler([(1, 0, "a"), (1, 0, "b")])
    for _ in range(begun):
        scheduler.begin(0)
    for _ in range(recorded):
        scheduler.record(0, 1.1 * recorded)
    scheduler.record(1, 1.0)
    # 1.1 a batch where nothing is in flight, at most 0.74 where one is, against 1.0.
    assert chosen(scheduler) == first


def test_what_comes_back_is_no_longer_in_flight() -> None:
    scheduler = TaskScheduler([(1, 0, "a"), (1, 0, "b")])
    for index in (0, 1):
        scheduler.begin(index)
    scheduler.record(0, 1.0)
    scheduler.record(1, 1.1)
    assert chosen(scheduler) == 1, "1.1 / 1 batch against 1.0 / 1"
    scheduler.begin(1)
    assert chosen(scheduler) == 0, "1.1 / 2 batches against 1.0 / 1"
    scheduler.begin(1)
    scheduler.record(1, 1.08)
    scheduler.record(1, 1.06)
    scheduler.begin(0)
    scheduler.record(0, 0.7)
    assert chosen(scheduler) == 1, "1.06 / 3 batches against 0.7 / 2"
    scheduler.begin(1)
    assert chosen(scheduler) == 0, "1.06 / 4 batches"


def test_a_record_without_a_begin_leaves_nothing_negative() -> None:
    scheduler = TaskScheduler([(1, 0, "a"), (1, 0, "b")])
    scheduler.record(0, 1.0)
    scheduler.record(0, 1.0)
    scheduler.record(1, 0.8)
    assert chosen(scheduler) == 1, "0.8 / 1 against 1.0 / 2"
    scheduler.begin(0)
    scheduler.begin(1)
    assert chosen(scheduler) == 1, "0.8 / 2 against 1.0 / 3"


def test_an_equal_gain_goes_to_the_fewer_batches_and_then_to_the_first() -> None:
    scheduler = TaskScheduler([(1, 0, "a"), (1, 0, "b"), (1, 0, "c")])
    for index, bests in enumerate([[None] * 4, [None] * 3, [None] * 3]):
        for best in bests:
            scheduler.record(index, best)
    assert chosen(scheduler) == 1


def test_one_batch_in_twenty_goes_to_any_open_task() -> None:
    scheduler = TaskScheduler([(1, 0, "a"), (9, 0, "b"), (1, 0, "c"), (1, 0, "d")])
    for index in range(4):
        scheduler.record(index, 1.0)
    scheduler.drop(3)
    draws = Draws(0.049, 0.05)
    assert scheduler.next(draws) == 2  # type: ignore[arg-type]
    assert draws.choices == [[0, 1, 2]]
    assert scheduler.next(draws) == 1  # type: ignore[arg-type]
    assert len(draws.choices) == 1


def test_a_batch_in_flight_keeps_a_fresh_task_from_a_second_one() -> None:
    scheduler = TaskScheduler([(1, 0, "a"), (1, 0, "b")])
    scheduler.begin(0)
    assert chosen(scheduler) == 1
    scheduler.record(1, 1.0)
    assert chosen(scheduler) == 1, "nothing is known of the first while it is in flight"


def test_a_resumed_task_starts_from_its_best() -> None:
    scheduler = TaskScheduler([(1, 0, "a"), (1, 0, "b")])
    scheduler.resume(0, 3.0, 0)  # fewer trials than a batch
    scheduler.begin(0)
    scheduler.record(1, 2.0)
    assert chosen(scheduler) == 0, "3.0 / 1 batch in flight against 2.0 / 1"
    scheduler.begin(0)
    assert chosen(scheduler) == 1
    scheduler.resume(0, 3.0, 5)
    assert chosen(scheduler) == 1, "3.0 / 7 against 2.0 / 1"
