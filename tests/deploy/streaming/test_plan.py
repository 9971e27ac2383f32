from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tvmkd.base.errors import InputError, UsageError
from tvmkd.deploy.streaming.plan import Plan, target_of

GOOD: dict[str, Any] = {"models": ("a",), "fps": 30.0, "budget_ms": 30.0, "seconds": 1.0}


def test_it_survives_json() -> None:
    plan = Plan(**{**GOOD, "size": (640, 480), "cpus": (1, 2), "priority": "fifo:5"})
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert Plan.from_dict(json.loads(json.dumps(Plan(**GOOD).to_dict()))) == Plan(**GOOD)


def test_the_period_and_the_threads() -> None:
    assert Plan(**GOOD).period_ns == 33_333_333
    assert Plan(**GOOD).thread_count is None
    assert Plan(**{**GOOD, "cpus": (1, 2)}).thread_count == 2
    assert Plan(**{**GOOD, "cpus": (1, 2), "threads": 1}).thread_count == 1
    assert Plan(**{**GOOD, "models": ("a", "b"), "when_late": "ladder"}).paths[1] == Path("b")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"fps": 0.0}, "--fps 0"),
        ({"fps": 1001.0}, "at most 1000"),
        ({"budget_ms": 0.0}, "must be above zero"),
        ({"seconds": 0.0}, "must be above zero"),
        ({"calm_s": 0.0}, "must be above zero"),
        ({"models": ("a", "b")}, "several models are a ladder"),
        ({"when_late": "ladder"}, "give the smaller models"),
        ({"hot": 60.0, "cool": 60.0}, "--cool 60 is not below --hot 60"),
        ({"priority": "high"}, "fifo:1 to fifo:99"),
        ({"cpus": (3,), "threads": 2}, "2 on 1 CPUs: at most one a CPU"),
    ],
)
def test_what_does_not_go_together(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        Plan(**{**GOOD, **fields})


def test_only_an_artifact_has_a_target(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    assert target_of(tmp_path / "m.onnx") is None
    with pytest.raises(InputError, match="there is no such artifact"):
        target_of(tmp_path / "none")
    with pytest.raises(InputError, match="not an artifact"):
        target_of(tmp_path)
