from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base.exits import CONFIDENCE
from tvmkd.early_exit import calibrate, policy

COSTS = [1.0, 2.0, 4.0]


def network(count: int, seed: int, doubt: float = 0.0) -> tuple[list[np.ndarray], np.ndarray]:
    """Three exits; of a share of the images the first two exits are sure, wrong, and disagree."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, count)
    logits = []
    for noise in (1.6, 1.2, 0.4):
        values = np.eye(8)[labels] * 4 + noise * rng.standard_normal((count, 8))
        logits.append(values.astype(np.float32))
    odd = rng.random(count) < doubt
    for index in (0, 1):
        other = (labels + 1 + index) % 8
        logits[index][odd, other[odd]] += 9
    return logits, labels


def test_the_shares_are_kept_on_other_images() -> None:
    val, labels = network(300, 0)
    made = policy.learn(policy.CONFIDENCES, val, labels, COSTS, 1.6)
    test, others = network(1000, 1)
    found = made.evaluate(test, others, COSTS)
    assert found.cost == pytest.approx(float(np.dot(made.shares, COSTS)), abs=0.01)
    assert found.cost <= 1.61
    rule = made.rule(test)
    taken = calibrate.apply(test, others, rule)
    assert taken.rates == pytest.approx(made.shares, abs=0.002)
    assert taken.accuracy == found.accuracy
    assert rule.weights == ()
    assert len(rule.temperatures) == 3


def test_scores_are_chosen_where_agreement_tells_more_than_confidence() -> None:
    val, labels = network(400, 0, doubt=0.15)
    choice = policy.choose(val, labels, COSTS, 2.4)
    assert choice.kind == policy.SCORES
    assert choice.lost[policy.SCORES] < choice.lost[policy.CONFIDENCES] - 0.02
    assert choice.policies[policy.SCORES].weights[1][3] > 0.2
    test, others = network(2000, 1, doubt=0.15)
    scores, confidence = (
        choice.policies[kind].evaluate(test, others, COSTS)
        for kind in (policy.SCORES, policy.CONFIDENCES)
    )
    assert scores.accuracy > confidence.accuracy + 0.02
    assert scores.cost <= confidence.cost + 0.01


def test_the_confidence_is_used_where_scores_gain_nothing() -> None:
    val, labels = network(60, 3)
    val[0] = val[1] = val[2]  # nothing is ever lost
    choice = policy.choose(val, labels, COSTS, 1.0)
    assert choice.kind == policy.CONFIDENCES
    assert choice.policies[policy.SCORES].weights == (CONFIDENCE, CONFIDENCE)
    assert choice.lost == {policy.SCORES: 0.0, policy.CONFIDENCES: 0.0}


def test_a_gain_within_two_standard_errors_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 images the confidence loses some; scores lose none, or as many others."""
    val, labels = network(100, 0)

    def chosen(confidence: int, scores: int) -> str:
        def lost(self: policy.Policy, logits: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
            places = logits[0][:, 0]
            return places >= 100 - scores if self.weights else places < confidence

        monkeypatch.setattr(policy.Policy, "lost", lost)
        marked = [np.column_stack([np.arange(100), each[:, 1:]]) for each in val]
        return policy.choose(marked, labels, COSTS, 2.0).kind

    # A gain of 6 images has a standard error of 2.4 if 6 differ, and of 4 if 16 do.
    assert chosen(6, 0) == policy.SCORES
    assert chosen(11, 5) == policy.CONFIDENCES
    assert chosen(3, 0) == chosen(3, 3) == chosen(2, 8) == policy.CONFIDENCES


def test_what_is_held_out_is_not_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    val, labels = network(50, 0)
    for number in range(50):
        val[0][number, 0] = number  # marks the image
    seen: list[set[float]] = []
    learn, lost = policy.learn, policy.Policy.lost

    def spy(kind: str, logits: list[np.ndarray], *rest: object) -> policy.Policy:
        seen.append(set(logits[0][:, 0].tolist()))
        return learn(kind, logits, *rest)  # type: ignore[arg-type]

    def check(self: policy.Policy, logits: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
        held = set(logits[0][:, 0].tolist())
        assert len(held) == 10
        assert not held & seen[-1]
        return lost(self, logits, labels)

    monkeypatch.setattr(policy, "learn", spy)
    monkeypatch.setattr(policy.Policy, "lost", check)
    policy.choose(val, labels, COSTS, 2.0)
    assert [len(each) for each in seen] == [40] * 10 + [50] * 2


def test_it_is_the_same_each_time() -> None:
    val, labels = network(120, 5, doubt=0.1)
    assert policy.choose(val, labels, COSTS, 1.5) == policy.choose(val, labels, COSTS, 1.5)


def test_a_single_image() -> None:
    val, labels = network(1, 0)
    assert policy.choose(val, labels, COSTS, 1.0).kind == policy.CONFIDENCES
