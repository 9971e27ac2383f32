from __future__ import annotations

import pytest

from tvmkd.base.errors import InputError
from tvmkd.search.study.opening import CHANNELS, settle_channels


def test_a_study_is_made_and_found_again(bench):
    made = bench(objective="front", budget="2ms")
    assert made.study.study_name == "toy"
    assert made.study.metric_names == ["score", "latency"]
    assert (made.goal.budget, made.unit) == (2.0, "ms")
    again = bench(objective="front", budget="2ms")
    assert again.study._study_id == made.study._study_id


def test_another_objective_or_space_in_the_same_folder_is_refused(bench):
    bench(budget=2).study.ask()
    with pytest.raises(InputError, match="was made with another objective"):
        bench(budget=2, objective="front")
    with pytest.raises(InputError, match="was made with another space"):
        bench(budget=2, space={"width": [0.5]})
    with pytest.raises(InputError, match="budget = 2, and this one has 3"):
        bench(budget=3)


def test_a_budget_that_the_target_does_not_count_is_refused(bench):
    with pytest.raises(InputError, match="this target's latencies are time, such as 5ms"):
        bench(budget="12M")


def test_a_damaged_journal_is_refused(bench, tmp_path):
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "study.journal").write_text("not a journal\n")
    with pytest.raises(InputError, match=r"study.journal: line 1 is damaged"):
        bench()


def test_efficient_channel_counts_are_found_once_for_the_whole_study(bench, monkeypatch):
    space = {"width": {"low": 0.5, "high": 4.0, "channels": "efficient"}}
    made = bench(space=space)
    settle_channels(made)
    (width,) = made.space.parameters
    found = width.values.choices
    assert found
    again = bench(space=space)
    assert again.space.parameters[0].values.choices == found
    monkeypatch.setattr(type(again.space), "efficient", None)
    settle_channels(again)
    assert again.space.suggest(again.study.ask())["width"] in found


def test_of_two_processes_that_look_for_channel_counts_the_first_one_counts(bench, monkeypatch):
    made = bench(space={"width": {"low": 0.5, "high": 4.0, "channels": "efficient"}})
    real = type(made.space).efficient

    def meanwhile(*given):
        made.study.set_user_attr(CHANNELS, {"width": [0.5, 4.0]})
        return real(*given)

    monkeypatch.setattr(type(made.space), "efficient", meanwhile)
    settle_channels(made)
    assert made.space.parameters[0].values.choices == [0.5, 4.0]


def test_as_long_as_nothing_was_tried_anything_may_change(bench):
    space = {"width": {"low": 0.5, "high": 4.0, "channels": "efficient"}}
    settle_channels(bench(budget=2, space=space))
    made = bench(budget=3, objective="front", space={"width": [0.5, 1.0]})
    assert made.study.directions[1].name == "MINIMIZE"
    assert made.space.parameters[0].values.choices == [0.5, 1.0]
    made.study.ask()
    with pytest.raises(InputError, match="budget = 3, and this one has 2"):
        bench(budget=2, objective="front", space={"width": [0.5, 1.0]})
