from __future__ import annotations

from typing import Any

import pytest

from tvmkd.tuning import record_lines
from tvmkd.tuning.record_lines import Check

TRIAL = {"task": "0x1f", "key": "k", "figure": 1e-6, "wall": 2}
RECORD = [0, [["trace"], [1e-6, 2], {}, []]]


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (record_lines.trial, TRIAL),
        (record_lines.trial, {"task": "1f", "key": "", "figure": None}),
        (record_lines.wall, {"wall": 1.5}),
        (record_lines.wall, {}),
        (record_lines.counted, {"task": "0x1"}),
        (record_lines.aside, {"task": "0x1", "key": "k", "reason": "r"}),
        (record_lines.workload, ["123", "bW9k"]),
        (record_lines.record, RECORD),
        (record_lines.record, [3, [[], None, {}, []]]),
    ],
)
def test_records(check: Check, value: Any) -> None:
    check(value)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        *((record_lines.trial, {**TRIAL, name: bad})
          for name, bad in (("task", "zz"), ("task", 3), ("key", None), ("figure", "1"),
                            ("wall", [1]))),
        (record_lines.counted, {"key": "k"}),
        (record_lines.wall, {"wall": "1"}),
        (record_lines.workload, ["0xf", "bW9k"]),
        (record_lines.workload, []),
        *((record_lines.record, bad)
          for bad in (RECORD[:1], [-1, RECORD[1]], [True, RECORD[1]], ["0", RECORD[1]], [0, {}],
                      [0, [[], 1.0]], [0, ["trace", [1.0]]], [0, [[], ["1"]]])),
        *((check, bad) for bad in (7, None, "x", [1, 2, 3])
          for check in (record_lines.trial, record_lines.aside, record_lines.record)),
    ],
)  # fmt: skip
def test_json_that_is_none(check: Check, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^no "):
        check(value)
