from __future__ import annotations

import re
from typing import Any

import pytest

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.config.budget import Budget

SPACE: dict[str, Any] = {
    "width": {"low": 0.25, "high": 1.5, "step": 0.125},
    "model": ["depthwise", "bottleneck"],
    "exits": [False, ["features.4"], [0.5]],
    "precision": ["fp32", "int8"],
    "distill.alpha": {"low": 0.1, "high": 0.8, "log": True},
}


def parse(space: Any = SPACE, search: Any = (), **sections: Any) -> config.Config:
    data = {"project": {"name": "a"}, **sections, "search": {"space": space, **dict(search)}}
    return config.parse(data)


def test_a_space_is_a_section_of_the_file() -> None:
    found = parse(search={"budget": "800us"}).search
    assert found is not None
    assert list(found.space) == list(SPACE)
    assert (found.method, found.objective, found.limit) == ("study", "accuracy", Budget(0.8))
    assert config.parse({"project": {"name": "a"}}).search is None


def test_the_file_reads_what_it_writes() -> None:
    cfg = parse()
    assert config.parse(cfg.model_dump(mode="json", exclude_unset=True)) == cfg


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "search.space: is empty; name at least one parameter"),
        ({"width": []}, "search.space.width: the list is empty"),
        ({"width": {"low": 2, "high": 1}}, "search.space.width: low 2 is above high 1"),
        ({"width": {"low": 1, "hihg": 2}}, 'unknown key "search.space.width.hihg"; did you mean'),
        ({"widht": [1]}, 'search.space.widht: is no key of a tvmkd.toml; did you mean "width"'),
        ({"width": [1], "student.args.width": [2]}, "is the same key as search.space.width"),
        (
            {"precision": ["fp32", "int9"]},
            "search.space.precision: the value 'int9' is refused: export.precision: input should",
        ),
        ({"precision": ["auto"]}, 'search.space.precision: "auto" measures; name "fp32"'),
        ({"resolution": {"low": 4, "high": 64, "step": 4}}, "the value 4 is refused: data.image"),
        ({"distill.seeds": [[0], [1, 1]]}, "refused: distill.seeds: the seeds must differ"),
        ({"exits": [[2.0]]}, "search.space.exits: the value [2.0] is refused: early_exit.exits.0"),
        (
            {"model": ["mlp"], "width": {"choices": [1], "only": "mpl"}},
            'search.space.width: only "mpl" is no model of this space; did you mean "mlp"',
        ),
        (
            {"distill.lr": {"low": 0.1, "high": 0.2, "per_stage": True}},
            "search.space.distill.lr: per_stage is for arguments of the model",
        ),
        (
            {"resolution": {"low": 16, "high": 32, "channels": "efficient"}},
            "search.space.resolution: channels is for arguments of the model",
        ),
    ],
)
def test_a_bad_space_is_one_line(space: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        parse(space)
    assert str(caught.value).startswith("tvmkd.toml: ")
    assert "\n" not in str(caught.value)


def test_a_value_that_the_rest_of_the_file_rules_out() -> None:
    with pytest.raises(InputError, match=r"exits: the value \['features.4'\] is refused: \[prune"):
        parse({"exits": [["features.4"]]}, prune={})


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"budget": "5 parsecs"}, 'search.budget: unknown unit "parsecs"'),
        ({"budget": True}, "search.budget"),
        ({"metod": "joint"}, 'unknown key "search.metod"; did you mean "method"'),
        ({"trials": 0}, "search.trials: .*greater than or equal to 1"),
    ],
)
def test_a_bad_search_is_one_line(search: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(search=search)
