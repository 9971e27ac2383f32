from __future__ import annotations

import pytest
import soft_nets
from made_up_latency import MadeUpLatency

from tvmkd.search.soft import staircase
from tvmkd.search.soft.choices import Structure
from tvmkd.search.soft.differences import questions
from tvmkd.search.soft.staircase import efficient, steps, thinned
from tvmkd.search.soft.survey import Asker


def test_an_option_that_saves_nothing_more_is_none() -> None:
    assert steps((48, 40, 32, 24, 16), [5.0, 5.0, 4.0, 4.5, 3.0]) == (48, 32, 16)
    assert steps((16, 8), [1.0, 1.0]) == (16,)


def test_few_options_keep_both_ends() -> None:
    assert thinned((9, 8, 7), 5) == (9, 8, 7)
    assert thinned((9, 8, 7, 6, 5, 4, 3, 2, 1), 3) == (9, 5, 1)


def test_the_options_stand_on_the_steps_of_the_target() -> None:
    network, choices = soft_nets.build("depthwise").eval(), soft_nets.choices("depthwise")
    fine = efficient(choices, Asker(MadeUpLatency(), network, choices, soft_nets.SHAPE))
    coarse = efficient(choices, Asker(MadeUpLatency(step=16), network, choices, soft_nets.SHAPE))
    assert {each.name: each.options for each in fine}["features.3.3"] == (32, 24, 16, 8)
    assert {each.name: each.options for each in coarse}["features.3.3"] == (32, 16)
    assert "features.0" not in {each.name for each in coarse}, "16 channels cost as much as 8"


def test_what_saves_next_to_nothing_is_left_alone() -> None:
    choices = soft_nets.choices("residual")

    def predict(structure: Structure) -> float:
        return 1.0 - sum(0.001 if name == "blocks.1" else 0.01 for name in structure)

    found = {choice.name for choice in efficient(choices, predict)}
    assert {choice.name for choice in choices} - found == {"blocks.1"}


def test_the_most_useful_choices_are_kept_if_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choices, ask = soft_nets.choices("residual"), soft_nets.asker("residual")
    whole = efficient(choices, ask)
    monkeypatch.setattr(staircase, "MOST_QUESTIONS", 20)
    few = efficient(choices, ask)
    assert questions(few) <= 20 < questions(whole)
    left_out = [choice for choice in whole if choice not in few]

    def saved(choice: object) -> float:
        return ask({}) - ask({choice.name: choice.options[-1]})  # type: ignore[attr-defined]

    assert min(map(saved, few)) >= max(map(saved, left_out))
    assert [each.name for each in few] == [each.name for each in whole if each in few]
