from __future__ import annotations

from typing import Any

import pytest

from tvmkd import config
from tvmkd.base.errors import InputError

NAMED = {"project": {"name": "toy"}}


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"export": {"precision": "int8"}}, r"needs the section \[quantize\]"),
        ({"export": {"precision": "auto"}}, r"needs the section \[quantize\]"),
        ({"export": {"keep_fp32": ["a"]}}, 'goes with precision = "fp16"'),
        ({"quantize": {}, "export": {"precision": "int8", "batch": 2}}, "a batch of 1"),
        ({"quantize": {}, "export": {"precision": "int8", "dynamic_batch": True}}, "a batch of 1"),
        ({"export": {"precision": "fp8"}}, "export.precision"),
    ],
)
def test_precisions_that_cannot_be_are_refused(sections: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        config.parse({**NAMED, **sections})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_drop": 0.1, "mean_budget": "1ms"}, "early_exit: max_drop and mean_budget do not"),
        ({"mean_budget": "12M"}, "early_exit.mean_budget: wants a latency such as 0.3ms"),
        ({"mean_budget": 0}, "early_exit.mean_budget.*above 0"),
        ({"mean_budget": "soon"}, "early_exit.mean_budget: wants a latency"),
    ],
)
def test_a_mean_budget_is_a_time_and_stands_for_max_drop(
    fields: dict[str, Any], message: str
) -> None:
    section = {"exits": ["a"], **fields}
    with pytest.raises(InputError, match=message):
        config.parse({**NAMED, "early_exit": section})
