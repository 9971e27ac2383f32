from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tvmkd.search.study import points
from tvmkd.search.study.goal import Goal
from tvmkd.search.study.owners import this_process
from tvmkd.search.study.proposals import Proposals, hand_back, open_slots, sampler


def proposals(bench: Any, trials: int = 20, forgiven: Any = ()) -> Proposals:
    return Proposals(bench.study, bench.space, bench.goal, 0, trials, forgiven)


def done(bench: Any, trial: optuna.Trial, score: float = 0.5) -> None:
    bench.study.tell(trial, bench.goal.values(score, 1.0))


@pytest.mark.parametrize("objective", ["accuracy", "front"])
def test_no_network_is_proposed_twice_until_there_is_no_other(bench, objective):
    made, keys = bench(objective=objective, space={"width": [0.5, 1, 2], "distill.lr": [1, 2]}), []
    while (found := proposals(made).next()) is not None:
        trial, structure = found
        keys.append(made.space.key(structure))
        assert made.space.structure(trial.params) == structure
        done(made, trial)
    assert len(keys) == len(set(keys)) == made.space.size == 6
    dropped = [each for each in made.study.trials if points.VOID in each.user_attrs]
    assert all("the same network as trial" in each.user_attrs[points.VOID] for each in dropped)


def test_a_search_that_was_interrupted_proposes_what_it_would_have_proposed(bench, tmp_path):
    runs = []
    for name in ("straight", "stopped"):
        made, structures = bench(storage=str(tmp_path / f"{name}.journal")), []
        asking = proposals(made)
        for number in range(8):
            if name == "stopped" and number == 5:
                made = bench(storage=str(tmp_path / "stopped.journal"))
                asking = proposals(made)
            trial, structure = asking.next()
            structures.append(structure)
            done(made, trial, structure["width"] / 10)
        runs.append(structures)
    assert runs[0] == runs[1]


def test_a_trial_says_whose_it_is(bench):
    made = bench()
    trial, structure = proposals(made).next()
    (known,) = made.study.trials
    assert known.user_attrs[points.OWNER] == this_process().to_dict()
    assert known.user_attrs[points.STRUCTURE] == structure
    assert trial.number == 0


def test_a_trial_that_is_handed_back_is_continued_first_and_once(bench):
    made = bench()
    _, structure = proposals(made).next()
    frozen = made.study.trials[0]
    assert hand_back(made.study, frozen, "its process died", died=True)
    assert not hand_back(made.study, frozen, "its process died", died=True), "another was first"
    states = [each.state for each in made.study.trials]
    assert states == [TrialState.FAIL, TrialState.WAITING]
    trial, again = proposals(made).next()
    assert again == structure
    assert trial.user_attrs[points.DEATHS] == 1
    assert hand_back(made.study, made.study.trials[1], "interrupted")
    assert made.study.trials[2].user_attrs == {points.DEATHS: 1}, "nobody died"


def test_a_trial_that_ended_before_it_had_a_structure_is_not_continued(bench):
    made = bench()
    made.study.ask()
    assert hand_back(made.study, made.study.trials[0], "its process died", died=True)
    assert len(made.study.trials) == 1


def test_what_failed_in_an_earlier_run_may_be_tried_again(bench):
    made = bench(space={"width": [1.0]})
    trial, structure = proposals(made).next()
    made.study.tell(trial, state=TrialState.FAIL)
    assert proposals(made).next() is None
    again = proposals(made, forgiven={0}).next()
    assert again is not None
    assert again[1] == structure


def test_a_network_that_the_schema_refuses_is_no_trial(bench, monkeypatch):
    made = bench()
    refuse = {0.5, 1.0, 2.0, 3.0}
    monkeypatch.setattr(
        type(made.space),
        "problem",
        lambda self, structure: "refused" if structure["width"] in refuse else None,
    )
    for _ in range(4):
        trial, structure = proposals(made).next()
        assert structure["width"] == 4.0
        done(made, trial)
    dropped = [each.user_attrs.get(points.VOID) for each in made.study.trials]
    assert "refused" in dropped


def test_the_samplers() -> None:
    single = sampler(Goal("accuracy"), 1, 40)
    assert isinstance(single, optuna.samplers.TPESampler)
    assert (single._n_startup_trials, single._group) == (10, False)
    assert sampler(Goal("accuracy"), 1, 8, conditional=True)._n_startup_trials == 4
    several = sampler(Goal("front"), 1, 40)
    assert isinstance(several, optuna.samplers.NSGAIISampler)
    assert several.population_size == 8


def test_running_trials_take_a_place_until_they_turn_out_too_slow(bench):
    made = bench()
    asking = proposals(made)
    first, _ = asking.next()
    second, _ = asking.next()
    assert open_slots(made.study.trials, 3) == (3, 1)
    done(made, first)
    second.set_user_attr(points.INFEASIBLE, "too slow")
    made.study.tell(second, state=TrialState.PRUNED)
    assert open_slots(made.study.trials, 3) == (2, 2)
    assert open_slots(made.study.trials, 1) == (0, 0)
