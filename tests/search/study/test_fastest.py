from __future__ import annotations

import pytest

from tvmkd.base.errors import GateFailure, InputError
from tvmkd.search.study import fastest
from tvmkd.search.study.fastest import check_budget
from tvmkd.search.study.proposals import Proposals
from tvmkd.search.study.trial import carry_out


def test_the_fastest_is_named_if_no_network_meets_the_budget(bench, monkeypatch):
    made = bench(budget="0.2ms", space={"width": {"low": 0.5, "high": 20.0, "step": 0.5}})
    monkeypatch.setattr(fastest, "DRAWS", 1)  # all the way down by neighbours
    line = r"0.2 ms: the fastest of \d+ is predicted to take 0.346 ms \(0.277 to 0.415\), "
    with pytest.raises(GateFailure, match=f"{line}with width = 0.5; give a larger budget"):
        check_budget(made)


def test_one_network_that_may_meet_it_is_enough(bench):
    made, asked = bench(budget="0.3ms", space={"width": [0.5, 20.0]}), []
    real = made.predict
    made.predict = lambda structure: asked.append(structure["width"]) or real(structure)
    check_budget(made)
    assert asked[-1] == 0.5, "0.277 to 0.415"


def test_nothing_is_predicted_if_a_network_is_known_already(bench, monkeypatch):
    made = bench(budget=30)
    asked = Proposals(made.study, made.space, made.goal, 0, 4).next()
    carry_out(made, *asked)
    assert made.points()[0].state == "complete"
    monkeypatch.setattr(made, "predict", None)
    check_budget(made)


def test_a_space_whose_networks_cannot_be_built(bench, monkeypatch):
    made = bench(budget=1)

    def refuse(*_):
        raise InputError("mine:net: no such layer")

    monkeypatch.setattr(made, "predict", refuse)
    with pytest.raises(InputError, match="no network of the space can be built: mine:net: no such"):
        check_budget(made)
