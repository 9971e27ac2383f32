from __future__ import annotations

from dataclasses import replace
from typing import Any

import optuna
import pytest
import stand_ins

from tvmkd.base.errors import InputError
from tvmkd.search.study import fingerprint
from tvmkd.search.study.goal import Goal


def facts(data: str = "abc", goal: Goal = Goal("accuracy", 5.0), **changes: Any) -> dict[str, Any]:  # noqa: B008
    plan = stand_ins.plan(stand_ins.HERE, stand_ins.toy(**changes))
    return fingerprint.fingerprint(plan, data, goal)


def search(**changes: Any) -> dict[str, Any]:
    return {**stand_ins.SECTIONS["search"], **changes}


def space(**changes: Any) -> dict[str, Any]:
    return search(space={**stand_ins.SECTIONS["search"]["space"], **changes})


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"data": "def"}, "other data"),
        ({"goal": Goal("front", 5.0)}, "objective = accuracy, and this one has front"),
        ({"goal": Goal("accuracy", 4.0)}, "budget = 5, and this one has 4"),
        ({"goal": Goal("accuracy")}, "budget = 5, and this one has None"),
        ({"search": space(depth=[1.0])}, r"another space \(depth is in this one only\)"),
        (
            {"search": space(width=[0.5, 1.0])},
            r"another space \(width: choices \[0.5, .*\] there, choices \[0.5, 1",
        ),
        ({"student": {"args": {"stem": 16}}}, r"another \[student\]"),
        ({"teacher": {"epochs": 7}}, r"another \[teacher\]"),
        ({"distill": {"lr": 1.0}}, r"other settings in \[data\], \[distill\]"),
        ({"prune": {"ratio": 0.5}}, r"other settings in \[prune\], \[quantize\]"),
        ({"export": {"precision": "fp16"}}, r"other settings in \[prune\], \[quantize\]"),
        ({"tune": {"stack": "relay"}}, "stack = relax, and this one has relay"),
    ],
)
def test_a_study_of_another_search_is_refused_and_says_what_differs(
    changed: dict[str, Any], what: str
) -> None:
    study = optuna.create_study(study_name="mine")
    assert not fingerprint.claim(study, facts(), "study.journal")
    assert not fingerprint.claim(study, facts(), "study.journal")
    assert fingerprint.claim(study, facts(**changed), "study.journal"), "nothing was tried"
    assert fingerprint.claim(study, facts(), "study.journal")
    study.ask()
    with pytest.raises(InputError, match=f"study.journal: the study mine was made with {what}"):
        fingerprint.claim(study, facts(**changed), "study.journal")


def test_another_target_is_named() -> None:
    plan = stand_ins.plan(stand_ins.HERE)
    other = replace(plan, target=replace(plan.target, name="nano"))
    old, new = (fingerprint.fingerprint(each, "x", Goal("front")) for each in (plan, other))
    found = str(fingerprint.difference(old, new))
    assert found == f"target = {plan.target.name}, and this one has nano"
    same = replace(plan, target=replace(plan.target, channel_multiple=64))
    new = fingerprint.fingerprint(same, "x", Goal("front"))
    assert fingerprint.difference(old, new) == "another content of the target's file"


def test_what_may_change_between_two_runs() -> None:
    changed = search(trials=99, workers=7, seed=5, measure=False, table="elsewhere", budget="5ms")
    assert facts(search=changed) == facts()


def test_a_study_of_somebody_else_is_left_alone() -> None:
    study = optuna.create_study(study_name="theirs")
    study.tell(study.ask(), 1.0)
    with pytest.raises(InputError, match="the study theirs is not of tvmkd search"):
        fingerprint.claim(study, facts(), "sqlite:///x.db")


def test_a_study_of_an_older_version() -> None:
    assert fingerprint.difference({"format": 0}, facts()) == "another version of tvmkd"
