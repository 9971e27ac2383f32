from __future__ import annotations

import numpy as np

from tvmkd.deploy.board_learner.draws import Draws
from tvmkd.deploy.board_learner.examples import Examples


def offered(memory: Examples, labels: list[int], seed: int = 0) -> None:
    draws = Draws(seed)
    for number, label in enumerate(labels):
        memory.offer(np.full(2, number, np.float16), label, draws)


def kept(memory: Examples) -> list[int]:
    return np.bincount(memory.labels[: memory.count], minlength=len(memory.seen)).tolist()


def test_a_rare_class_gets_its_share() -> None:
    memory = Examples(12, 2, 4)
    offered(memory, [0] * 100 + [1] * 50 + [2] * 4)
    assert kept(memory) == [4, 4, 4, 0]
    assert memory.seen.tolist() == [100, 50, 4, 0]


def test_within_a_class_late_ones_are_kept_as_often_as_early_ones() -> None:
    counts = np.zeros(40)
    for seed in range(400):
        memory = Examples(10, 2, 1)
        offered(memory, [0] * 40, seed)
        counts[memory.features[:, 0].astype(int)] += 1
    assert counts.sum() == 4000
    assert counts.min() > 60
    assert counts.max() < 145


def test_no_room_keeps_nothing() -> None:
    memory = Examples(0, 2, 2)
    offered(memory, [0, 1])
    assert memory.count == 0
    rows, labels = memory.rows()
    assert rows.shape == (0, 2)
    assert len(labels) == 0


def test_a_copy_is_independent() -> None:
    memory = Examples(4, 2, 2)
    offered(memory, [0, 1])
    other = memory.copy()
    offered(memory, [1])
    assert (other.count, other.seen.tolist()) == (2, [1, 1])
