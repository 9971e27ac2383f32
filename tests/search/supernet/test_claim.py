from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import supernets

from tvmkd.base.errors import InputError
from tvmkd.search.study.goal import Goal
from tvmkd.search.supernet.claim import FILE, claim


def claimed(folder: Path, data: str = "d" * 20, multiple: int = 8, **changes: Any) -> None:
    claim(supernets.plan(folder, **changes), folder, data, Goal("accuracy", 5.0), multiple)


def test_other_budgets_objectives_and_targets_use_the_same_weights(tmp_path: Path) -> None:
    claimed(tmp_path)
    claimed(tmp_path)
    claimed(tmp_path, supernet={"epochs": 9})
    plan = supernets.plan(tmp_path)
    target = dataclasses.replace(plan.target, name="another")
    other = dataclasses.replace(plan, target=target)
    claim(other, tmp_path, "d" * 20, Goal("front"), 8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": "e" * 20}, "other data"),
        ({"multiple": 4}, "another channel multiple"),
        ({"space": {"width": [0.5, 1.0]}}, r"another space \(kernel is in that one only\)"),
        ({"sections": {"distill": {"lr": 0.1}}}, "other settings in"),
        ({"sections": {"teacher": {"epochs": 9}}}, r"another \[teacher\]"),
        ({"sections": {"student": {"args": {"stem": 16}}}}, r"another \[student\]"),
    ],
)
def test_what_was_made_for_something_else_is_not_replaced(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    claimed(tmp_path)
    before = (tmp_path / FILE).read_text(encoding="utf-8")
    with pytest.raises(InputError, match=rf"this supernet was made with {says}.*; give another"):
        claimed(tmp_path, **changes)
    assert (tmp_path / FILE).read_text(encoding="utf-8") == before


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_damaged_mark_is_written_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content, encoding="utf-8")
    claimed(tmp_path)
    with pytest.raises(InputError):
        claimed(tmp_path, multiple=4)
