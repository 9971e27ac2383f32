from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmkd.base.toml_text import dumps
from tvmkd.config import tomllib

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
SCALARS = st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_what_is_written_is_read_back(data: dict[str, Any]) -> None:
    assert tomllib.loads(dumps(data)) == data


def test_it_looks_as_a_person_would_write_it() -> None:
    data = {
        "project": {"name": "digits", "out": None},
        "student": {"model": "depthwise", "args": {"stem": 8, "blocks": [[16, 2], [32, 1]]}},
        "distill": {"lr": 2e-3, "seeds": [0], "features": [{"loss": "hint", "weight": 1.0}]},
        "data": {"camera": {f"effect_{index}": [0.25, 0.75] for index in range(5)}},
        "gate": {"require": ["tvm.p50 <= 5ms, and much more text than fits into a line"] * 2},
    }
    assert dumps(data) == (
        """[project]
name = "digits"

[student]
model = "depthwise"
args = { stem = 8, blocks = [[16, 2], [32, 1]] }

[distill]
lr = 0.002
seeds = [0]

[[distill.features]]
loss = "hint"
weight = 1.0

[data.camera]
effect_0 = [0.25, 0.75]
effect_1 = [0.25, 0.75]
effect_2 = [0.25, 0.75]
effect_3 = [0.25, 0.75]
effect_4 = [0.25, 0.75]

[gate]
require = [
    "tvm.p50 <= 5ms, and much more text than fits into a line",
    "tvm.p50 <= 5ms, and much more text than fits into a line",
]
"""
    )


def test_what_toml_cannot_hold_is_an_error() -> None:
    with pytest.raises(TypeError, match="TOML has no bytes"):
        dumps({"a": {"b": b"1"}})
