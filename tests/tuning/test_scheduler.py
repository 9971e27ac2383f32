from __future__ import annotations

import numpy as np

from tvmkd.tuning.scheduler import TaskScheduler


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


def test_every_task_gets_a_batch_first() -> None:
    scheduler = TaskScheduler([(1, 1, "dense"), (100, 1, "dense"), (1, 1, "conv2d")])
    assert play(scheduler, [[1.0], [1.0], [1.0]], 3) == [1, 1, 1]


def test_what_weighs_more_gets_more() -> None:
    scheduler = TaskScheduler([(1, 0, "a"), (20, 0, "b")])
    counts = play(scheduler, [[1.0], [1.0]], 60)
    assert counts[1] > 3 * counts[0]


def test_a_task_far_below_its_peers_gets_more() -> None:
    # Same work and kind, but the second runs it a hundred times slower.
    scheduler = TaskScheduler([(1, 1e6, "conv2d"), (1, 1e6, "conv2d")])
    counts = play(scheduler, [[1e-4], [1e-2]], 40)
    assert counts[1] > 3 * counts[0]


def test_a_task_that_never_succeeds_does_not_eat_the_budget() -> None:
    scheduler = TaskScheduler([(1000, 1, "a"), (1, 1, "b")])
    counts = play(scheduler, [[None], [1.0]], 60)
    assert 3 <= counts[0] <= 10


def test_dropped_tasks_get_nothing_and_the_end_is_none() -> None:
    rng = np.random.default_rng(0)
    scheduler = TaskScheduler([(1, 1, "a"), (1, 1, "b")])
    scheduler.drop(0)
    assert play(scheduler, [[1.0], [1.0]], 20) == [0, 20]
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
