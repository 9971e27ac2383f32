"""The pruning rule with invented measurements: what is kept, what ends it, what comes next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tvmkd.prune.rule import LARGEST_SHARE, Step, prune_stepwise

STUDENT = Step(0.0, False, "the student", 64, 1000, 500, 0.9, 0.8, 2.0, 1.0, (1.0, 1.0))
FASTER, SLOWER, UNSURE = (0.7, 0.8), (1.1, 1.2), (0.97, 1.01)


def measured(interval: tuple[float, float] = FASTER, accuracy: float = 0.9) -> Step:
    """A step as `attempt` gives it: the rule sets its share, ``kept`` and ``why``."""
    low, high = interval
    return replace(STUDENT, why="", ratio=(low + high) / 2, ratio_ci=interval, val_score=accuracy)


@dataclass
class Attempts:
    """Gives invented steps in order and notes what it was asked for. Networks are names."""

    steps: list[Step | None]
    asked: list[tuple[int, float, str]] = field(default_factory=list)

    def __call__(self, number: int, share: float, network: str) -> tuple[str, Step] | None:
        self.asked.append((number, share, network))
        step = self.steps[number - 1]
        return None if step is None else (f"{network}>{number}", step)

    def run(self, **settings: Any) -> tuple[str, list[Step]]:
        given = {"steps": len(self.steps), "ratio": 0.25, "max_drop": 0.01, **settings}
        return prune_stepwise("student", STUDENT, self, **given)


def test_the_student_is_the_first_step_and_counts_as_kept() -> None:
    network, found = Attempts([]).run()
    assert network == "student"
    assert found == [replace(STUDENT, kept=True)]


def test_a_faster_step_is_kept_and_the_next_starts_from_it() -> None:
    attempts = Attempts([measured(), measured()])
    network, found = attempts.run()
    assert network == "student>1>2"
    assert [step.kept for step in found] == [True, True, True]
    assert [step.why for step in found[1:]] == ["faster", "faster"]
    assert attempts.asked == [(1, 0.25, "student"), (2, 0.25, "student>1")]


@pytest.mark.parametrize(
    ("interval", "kept"),
    [
        ((0.97, 0.999), True),
        ((0.97, 1.0), False),  # 1 itself is no gain
        (UNSURE, False),  # its ratio of 0.99 alone would keep it
        ((0.6, 1.4), False),
        (SLOWER, False),
    ],
)
def test_the_whole_interval_has_to_be_below_one(interval: Any, kept: bool) -> None:
    network, found = Attempts([measured(interval)]).run()
    assert found[1].kept is kept
    assert network == ("student>1" if kept else "student")
    assert found[1].why == ("faster" if kept else "not faster beyond the noise")


def test_a_rejected_step_is_tried_again_larger_from_the_same_network() -> None:
    attempts = Attempts([measured(UNSURE), measured(SLOWER), measured()])
    network, found = attempts.run()
    assert attempts.asked == [(1, 0.25, "student"), (2, 0.5, "student"), (3, 0.75, "student")]
    assert network == "student>3"
    assert [step.share for step in found] == [0.0, 0.25, 0.5, 0.75]


def test_after_reject_then_keep_the_share_starts_again() -> None:
    attempts = Attempts([measured(UNSURE), measured(), measured(UNSURE), measured()])
    network, _ = attempts.run()
    assert [share for _, share, _ in attempts.asked] == [0.25, 0.5, 0.25, 0.5]
    assert network == "student>2>4"


def test_a_share_is_cut_at_the_largest_and_a_rejection_there_ends_it() -> None:
    attempts = Attempts([measured(UNSURE)] * 4)
    _, found = attempts.run(ratio=0.5)
    assert [step.share for step in found[1:]] == [0.5, LARGEST_SHARE]


def test_a_first_share_beyond_the_largest_is_cut_and_may_be_kept_again_and_again() -> None:
    attempts = Attempts([measured()] * 3)
    attempts.run(ratio=0.95)
    assert [share for _, share, _ in attempts.asked] == [LARGEST_SHARE] * 3


@pytest.mark.parametrize(("accuracy", "kept"), [(0.8, True), (0.78, False), (0.95, True)])
def test_accuracy_may_fall_by_max_drop(accuracy: float, kept: bool) -> None:
    limit = STUDENT.val_score - 0.8
    attempts = Attempts([measured(accuracy=accuracy), measured()])
    _, found = attempts.run(max_drop=limit)
    assert found[1].kept is kept
    assert len(attempts.asked) == (2 if kept else 1), "a step that loses too much ends it"


def test_a_loss_is_named_in_points_and_comes_before_the_latency() -> None:
    network, found = Attempts([measured(accuracy=0.755)]).run()
    assert network == "student"
    assert found[1].why == "loses 14.5 points on the validation split"
    _, found = Attempts([measured(SLOWER, accuracy=0.755)]).run()
    assert "points" in found[1].why


def test_losses_add_up_against_the_student_and_not_the_step_before() -> None:
    steps = [measured(accuracy=0.85), measured(accuracy=0.80), measured(accuracy=0.75)]
    network, found = Attempts(list(steps)).run(max_drop=0.12)
    assert [step.kept for step in found] == [True, True, True, False]
    assert network == "student>1>2"


def test_it_ends_where_no_channels_can_go() -> None:
    attempts = Attempts([measured(), None, measured()])
    network, found = attempts.run()
    assert network == "student>1"
    assert (len(found), len(attempts.asked)) == (2, 2)


def test_it_does_as_many_steps_as_asked_for() -> None:
    attempts = Attempts([measured()] * 5)
    _, found = attempts.run(steps=3)
    assert len(found) == 4


def test_each_finished_step_is_reported_with_its_verdict() -> None:
    seen: list[tuple[int, float, bool]] = []
    attempts = Attempts([measured(UNSURE), measured(), None])
    attempts.run(on_step=lambda number, step: seen.append((number, step.share, step.kept)))
    assert seen == [(1, 0.25, False), (2, 0.5, True)]
