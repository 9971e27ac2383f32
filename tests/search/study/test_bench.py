from __future__ import annotations

import json
from pathlib import Path

import pytest
import stand_ins

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.search.study.bench import Plan


def test_a_plan_is_the_same_in_another_process(tmp_path: Path) -> None:
    plan = stand_ins.plan(tmp_path)
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.cfg == plan.cfg
    assert again.target == plan.target
    assert (again.folder, list(again.search_in)) == (plan.folder, list(plan.search_in))
    assert (again.latency, again.training) == (plan.latency, plan.training)
    assert isinstance(again.open_latency(), stand_ins.Sums)


def test_a_config_without_a_space_cannot_be_searched(tmp_path: Path) -> None:
    plan = stand_ins.plan(tmp_path, config.parse({"project": {"name": "x"}}))
    with pytest.raises(InputError, match=r"there is no \[search.space\]"):
        plan.search  # noqa: B018


def test_a_network_is_predicted_once(bench, monkeypatch):
    made, asked = bench(), []
    real = made.latency.predict_model
    monkeypatch.setattr(
        made.latency, "predict_model", lambda *given: asked.append(given) or real(*given)
    )
    structure = {"width": 1.0, "distill.lr": 1e-3}
    assert made.predict(structure) == made.predict({**structure})
    assert len(asked) == 1
    assert asked[0][1] == (1, 1, 8, 8)
