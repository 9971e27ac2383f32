from __future__ import annotations

from typing import Any

import pytest

from tvmkd.search import exits
from tvmkd.search.study import predicting
from tvmkd.search.study.proposals import Proposals
from tvmkd.search.study.trial import carry_out

BLOCKS = {"blocks": [[16, 1], [16, 1]], "stem": 8}


@pytest.fixture
def made(bench: Any) -> Any:
    """A study over networks with an exit and without."""
    space = {"width": [1.0], "exits": [False, ["features.3"]]}
    return bench(space=space, budget="100ms", stop="never", training="stand_ins:Saving")


def test_the_time_until_each_exit(made):
    (whole,) = predicting.times(made, {"width": 1.0, "exits": False})
    assert whole == made.predict({"width": 1.0, "exits": False})
    first, last = predicting.times(made, {"width": 1.0, "exits": ["features.3"]})
    assert first.seconds < last.seconds


def test_a_network_with_exits_counts_with_the_mean_over_images(made, monkeypatch):
    monkeypatch.setattr(exits, "rates", lambda *_: (0.75, 0.25))
    structure = {"width": 1.0, "exits": ["features.3"]}
    first, last = predicting.times(made, structure)
    made.study.enqueue_trial(made.space.params(structure))
    found = Proposals(made.study, made.space, made.goal, 0, 4).next()
    assert found is not None
    carry_out(made, *found)
    (point,) = made.points()
    assert point.error is None
    mean = 1e3 * (0.75 * first.seconds + 0.25 * last.seconds)
    assert point.predicted == pytest.approx(mean)
    assert point.low == pytest.approx(0.8 * mean)
    assert (point.measured, point.state) == (None, "complete"), "no file has this latency"
    assert made.study.trials[0].user_attrs["exits"] == [0.75, 0.25]


def test_a_network_is_not_given_up_before_it_is_known_where_images_leave(bench):
    space = {"width": [1.0], "exits": [["features.3"]]}
    made = bench(space=space, budget="2ms", stop="never", training="stand_ins:Saving")
    structure = {"width": 1.0, "exits": ["features.3"]}
    first, last = predicting.times(made, structure)
    assert 1e3 * first.low <= 2 < 1e3 * last.low, "the budget is between its exits"
    made.study.enqueue_trial(made.space.params(structure))
    carry_out(made, *Proposals(made.study, made.space, made.goal, 0, 4).next())
    assert made.points()[0].state == "complete"
