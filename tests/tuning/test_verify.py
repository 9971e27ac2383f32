"""A kernel that computes something else than it should, and the records it must not get into."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_kernels
from grounds import Ground

from tvmkd.tuning import records

pytestmark = pytest.mark.rpc
MISTAKEN = {"tasks": ["matmul:64", "times:64"], "plant_wrong": True, "options": {"batch": 4}}


@pytest.mark.parametrize("ground", ["relay"], indirect=True)
def test_a_wrong_kernel_is_a_failed_trial_however_fast(tmp_path: Path, ground: Ground) -> None:
    found = tiny_kernels.events(ground.start(tmp_path, trials=12, **MISTAKEN))
    name, result = found[-1]
    assert name == "result", result
    assert result["errors"] == {"wrong_output": 1}
    assert [data["text"] for name, data in found if name == "note"] == []
    lines = records.read_lines(tmp_path / records.TRIALS)
    assert len(lines) == 12
    (wrong,) = (line for line in lines if line["status"] == "wrong_output")
    assert "differs from plain loops'" in wrong["error"]
    assert wrong["figure"] is None
    stored = records.load(tmp_path)
    assert len(stored) == 11
    assert (wrong["task"], wrong["key"]) not in {(record.task, record.key) for record in stored}
    first, _ = result["tasks"]
    best = min(record.seconds for record in stored if record.task == wrong["task"])
    assert first["best_us"] * 1e-6 == pytest.approx(best)
