from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from optuna.trial import TrialState

from tvmkd.base.errors import InputError
from tvmkd.search.study import owners, points, worker
from tvmkd.search.study.owners import Listener
from tvmkd.search.study.proposals import Proposals


def test_trials_until_there_are_enough_and_more_later(bench, events):
    worker.work(bench(trials=3, budget=2.5, stop="never"))
    known = bench(budget=2.5).points()
    assert sum(point.state == "complete" for point in known) == 3
    assert sum(name == "trial" for name, _ in events) == len(known)
    worker.work(bench(trials=5, budget=2.5, stop="never"))
    known = bench(budget=2.5).points()
    assert sum(point.state == "complete" for point in known) == 5
    keys = [str(point.structure) for point in known]
    assert len(keys) == len(set(keys))
    before = len(events)
    worker.work(bench(trials=5, budget=2.5, stop="never"))
    assert len(events) == before, "there was nothing to do"


def test_all_networks_of_a_small_space_are_enough(bench, events):
    worker.work(bench(trials=9, space={"width": [0.5, 1.0]}, stop="never"))
    assert [point.state for point in bench(space={"width": [0.5, 1.0]}).points()] == [
        "complete"
    ] * 2
    assert ("doing", {"worker": 0, "text": "no network is left to try"}) in events
    text = "warning: the space has no more networks: 2 of 9 were trained"
    assert ("note", {"text": text}) in events


def test_a_structure_that_fails_does_not_end_the_search(bench, monkeypatch):
    monkeypatch.setenv("STAND_IN_FAILS", "1.0")
    made = bench(trials=3, space={"width": [0.5, 1.0, 2.0]}, stop="never")
    worker.work(made)
    states = {point.structure["width"]: point.state for point in made.points()}
    assert states == {0.5: "complete", 1.0: "failed", 2.0: "complete"}


def test_if_all_trials_fail_alike_the_search_ends_with_that_line(bench, monkeypatch):
    def fail(self: Any, candidate: Any, rungs: Any, report: Any) -> None:
        raise InputError(f"mine:net with width={candidate.cfg.student.args['width']}: no such op")

    made = bench(trials=9)
    monkeypatch.setattr(type(made.training), "fit", fail)
    with pytest.raises(InputError, match=r"the first 5 networks all failed: mine:net with width="):
        worker.work(made)
    assert len(made.points()) == 5
    with pytest.raises(InputError, match="the first 5 networks all failed"):
        worker.work(bench(trials=9))
    assert len(made.points()) == 10, "they are tried again: something may have been mended"


def test_trials_that_fail_in_turn_end_the_search_too(bench):
    made = bench()
    for number in range(worker.LATER_FAILURES + 1):
        trial = made.study.ask()
        if number == 0:
            made.study.tell(trial, 0.5)
            continue
        trial.set_user_attr(points.ERROR, f"reason {'x' * number}")
        made.study.tell(trial, state=TrialState.FAIL)
    worker.check_failures(made.study.trials[:-1])
    with pytest.raises(InputError, match="the last 20 networks all failed: reason x"):
        worker.check_failures(made.study.trials)


def test_if_all_networks_of_a_space_fail_the_search_ends_with_the_first_line(bench, monkeypatch):
    monkeypatch.setenv("STAND_IN_FAILS", "1.0")
    with pytest.raises(InputError, match=r"all 1 networks of the space failed: width 1.0 is unl"):
        worker.work(bench(trials=3, space={"width": [1.0]}))


def test_a_space_of_slow_networks_does_not_go_on_for_ever(bench, events, monkeypatch):
    monkeypatch.setattr(worker, "TOO_SLOW", 3)
    space = {"width": {"low": 8.0, "high": 80.0}}
    worker.work(bench(trials=3, budget=1e-6, space=space))
    assert [point.state for point in bench(budget=1e-6, space=space).points()] == ["infeasible"] * 3
    (text,) = [data["text"] for name, data in events if name == "note"]
    assert "the last 3 networks were predicted to be too slow: the search ends 3 networks" in text
    worker.work(bench(trials=3, budget=1e-6, space=space))
    assert len(bench(budget=1e-6, space=space).points()) == 6, "asked again, it looks on"


def test_ctrl_c_hands_the_trial_back(bench, monkeypatch):
    made = bench(trials=2)
    real = type(made.training).fit
    handed = worker.hand_back

    def interrupt(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    def hand_back(*given: Any, **named: Any) -> bool:
        os.kill(os.getpid(), signal.SIGINT)  # a second one, as shells send it
        return handed(*given, **named)

    monkeypatch.setattr(type(made.training), "fit", interrupt)
    monkeypatch.setattr(worker, "hand_back", hand_back)
    with pytest.raises(KeyboardInterrupt):
        worker.work(made)
    assert [each.state for each in made.study.trials] == [TrialState.FAIL, TrialState.WAITING]
    monkeypatch.setattr(type(made.training), "fit", real)
    worker.work(bench(trials=2))
    first, again = made.study.trials[:2]
    assert again.params == first.params
    assert again.state == TrialState.COMPLETE
    assert made.points()[0].number == 1


def test_a_dead_process_s_trial_is_continued_and_one_elsewhere_is_left_alone(bench, events):
    made = bench()
    asking = Proposals(made.study, made.space, made.goal, 0, 4)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    here = owners.this_process().to_dict()
    dead, elsewhere = {**here, "pid": process.pid, "started": "7"}, {**here, "host": "other"}
    first, second, third = (asking.next()[0] for _ in range(3))
    first.set_user_attr(points.OWNER, dead)
    second.set_user_attr(points.OWNER, elsewhere)
    now = 0.0
    listener = Listener(lambda: now)
    worker.adopt(made, made.study.trials, listener)
    states = [each.state for each in made.study.trials]
    assert states[first.number] == TrialState.FAIL
    assert states[second.number] == states[third.number] == TrialState.RUNNING
    assert states[-1] == TrialState.WAITING
    assert made.study.trials[-1].user_attrs == {points.DEATHS: 1}
    assert [data["text"] for name, data in events if name == "note"] == [
        "trial 0: its process died; it is continued"
    ]
    now = owners.SILENT_SECONDS + 1
    worker.adopt(made, made.study.trials, listener)
    states = [each.state for each in made.study.trials]
    assert states[second.number] == TrialState.FAIL, "it was silent for too long"
    assert states[third.number] == TrialState.RUNNING


def test_a_trial_that_this_process_has_left_is_continued(bench, events):
    made = bench(trials=1)
    left, structure = Proposals(made.study, made.space, made.goal, 0, 4).next()
    worker.work(made)
    (point,) = made.points()
    assert (point.structure, point.state) == (structure, "complete")
    assert point.number > left.number
    assert ("note", {"text": "trial 0: it was interrupted; it is continued"}) in events
    assert points.DEATHS not in made.study.trials[point.number].user_attrs


def test_a_network_that_kills_every_process_is_a_failed_one(bench):
    made = bench(trials=1, space={"width": [1.0]})
    made.study.enqueue_trial({"width": 1.0}, user_attrs={points.DEATHS: worker.DEATHS})
    with pytest.raises(InputError, match="all 1 networks of the space failed: its process died 3"):
        worker.work(made)
    (point,) = made.points()
    assert point.state == "failed"
    assert point.error == "its process died 3 times while it worked on it"


def test_a_trial_that_another_process_has_taken_over_is_left_to_it(bench, events, monkeypatch):
    made = bench(trials=1)
    real = type(made.training).fit

    def taken(self: Any, candidate: Any, rungs: Any, report: Any) -> Any:
        running = made.study.trials[-1]
        monkeypatch.setattr(type(made.training), "fit", real)
        worker.hand_back(made.study, running, "its process died")
        return real(self, candidate, rungs, report)

    monkeypatch.setattr(type(made.training), "fit", taken)
    worker.work(made)
    assert [point.state for point in made.points()] == ["complete"]
    assert any("taken over" in data.get("text", "") for _, data in events)
