from __future__ import annotations

import optuna
import pytest

from tvmkd.search.study.rungs import AtRung, beaten, pruner, rungs


def test_a_training_is_judged_at_a_ninth_and_a_third() -> None:
    assert rungs(90, 100, "halving") == [10, 30]
    assert rungs(60, 100, "hyperband") == [6, 20]
    assert rungs(2, 200, "halving") == [1]
    assert rungs(1, 200, "halving") == []
    assert rungs(90, 100, "never") == []
    # After so few steps many have learnt nothing.
    assert rungs(90, 10, "halving") == [30]
    assert rungs(90, 2, "halving") == []


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_halving_lets_the_first_four_and_the_best_third_go_on(direction: str) -> None:
    study = optuna.create_study(direction=direction, pruner=pruner(9, 200, "halving"))
    sign = 1 if direction == "maximize" else -1
    went_on = []
    for score in (5, 3, 4, 8, 1, 2, 9, 0, 7):
        trial = study.ask()
        trial.report(sign * score, 1)
        if not trial.should_prune():
            went_on.append(score)
        study.tell(trial, sign * score)
    assert went_on == [5, 3, 4, 8, 9, 7]


def test_the_other_pruners() -> None:
    assert isinstance(pruner(90, 100, "hyperband"), optuna.pruners.HyperbandPruner)
    assert isinstance(pruner(90, 100, "never"), optuna.pruners.NopPruner)
    assert isinstance(pruner(1, 200, "halving"), optuna.pruners.NopPruner)


def test_a_front_s_training_ends_if_two_faster_ones_are_clearly_better() -> None:
    one = AtRung(0.70, 2.0)
    clearly = [AtRung(0.90, 1.0), AtRung(0.85, 2.0)]
    assert beaten(one, clearly, images=341)
    assert not beaten(one, clearly[:1], images=341), "one may have been lucky"
    assert not beaten(one, clearly, images=10), "with ten images that is chance"
    slower = [AtRung(0.90, 2.1), AtRung(0.85, 3.0)]
    assert not beaten(one, slower, images=341), "a faster network has a place of its own"
    near = [AtRung(0.72, 1.0), AtRung(0.73, 1.0)]
    assert not beaten(one, near, images=341)
    assert beaten(one, near, images=34_100)


def test_the_rule_where_a_lower_score_is_better_and_where_scores_are_no_shares() -> None:
    one, others = AtRung(0.30, 2.0), [AtRung(0.10, 1.0), AtRung(0.12, 1.5)]
    assert beaten(one, others, images=341, maximize=False)
    assert not beaten(one, others, images=341)
    losses = [AtRung(20.0, 1.0), AtRung(25.0, 1.5)]
    assert not beaten(AtRung(30.0, 2.0), losses, images=341, maximize=False)
    perfect = [AtRung(1.0, 1.0), AtRung(1.0, 1.0)]
    assert not beaten(AtRung(0.999, 2.0), perfect, images=341)
