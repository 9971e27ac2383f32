from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base import exits
from tvmkd.base.exits import CONFIDENCE, Rule
from tvmkd.early_exit import calibrate, scores

ONES = (1.0, 1.0, 1.0)


def network(count: int = 600) -> tuple[list[np.ndarray], np.ndarray]:
    """Three exits of growing accuracy; images differ in how hard they are."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, count)
    hard = rng.exponential(1, (count, 1))
    truth = np.eye(6)[labels] * 3
    return [
        (truth + hard * noise * rng.standard_normal((count, 6))).astype(np.float32)
        for noise in (2.5, 1.6, 0.8)
    ], labels


def test_a_score_without_weights_is_the_confidence() -> None:
    logits, _ = network()
    found = scores.of_exits(logits, (2.0, 3.0, 1.0))
    for own, values, scale in zip(found, logits, (2.0, 3.0), strict=False):
        assert own == pytest.approx(calibrate.confidence(values, scale), abs=1e-12)


def test_votes_are_those_of_the_exits_before() -> None:
    logits, _ = network()
    votes = scores.features_of_exits(logits, ONES)[1][:, 3]
    same = logits[0].argmax(axis=1) == logits[1].argmax(axis=1)
    assert np.array_equal(votes, same)


def test_the_rule_leaves_images_where_their_scores_say() -> None:
    logits, labels = network(200)
    weights = scores.learn(logits, labels, ONES)
    rule = Rule((0.6, 0.7), (2.0, 1.5, 1.0), weights)
    rows = zip(*logits, strict=True)
    assert [rule.taken(row) for row in rows] == calibrate.leave_by(logits, rule).tolist()


def test_weights_tell_better_who_may_leave() -> None:
    logits, labels = network()
    weights = scores.learn(logits, labels, ONES)
    assert exits.rule_error(Rule((0.5, 0.5), (), weights)) is None
    assert weights[0][3] == 0, "there is no exit before the first"
    assert weights[1][3] > 0
    assert min(row[0] for row in weights) >= 0.01, "equal votes are ordered by the confidence"
    right = np.stack([found.argmax(axis=1) == labels for found in logits])
    safe = right[1] | ~right[2]
    learnt, plain = (scores.of_exits(logits, ONES, each)[1] for each in (weights, ()))
    assert _ranked(learnt, safe) > _ranked(plain, safe) + 0.02


def _ranked(own: np.ndarray, safe: np.ndarray) -> float:
    """The share of pairs in which the image that may leave has the larger score."""
    pairs = own[safe][:, None] - own[~safe][None]
    return float((pairs > 0).mean() + (pairs == 0).mean() / 2)


def test_images_that_teach_nothing() -> None:
    labels = np.zeros(5, np.int64)
    right, wrong = (np.tile(np.array(row, np.float32), (5, 1)) for row in ([2.0, 0.0], [0.0, 2.0]))
    assert scores.learn([right, right], labels, ONES[:2]) == (CONFIDENCE,)
    assert scores.learn([wrong, right], labels, ONES[:2]) == (CONFIDENCE,)
    # Every feature is larger where the exit is wrong: no weight above 0 helps.
    first = np.array([[0.1, 0], [0.1, 0], [0.1, 0], [0, 5], [0, 5]], np.float32)
    assert scores.learn([first, right], labels, ONES[:2]) == (CONFIDENCE,)
