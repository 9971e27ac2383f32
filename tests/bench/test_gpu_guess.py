from __future__ import annotations

from typing import Any

import pytest

from tvmkd.bench import gpu_guess


def facts(flop: float, occupancy: float | None = None, **more: Any) -> dict[str, Any]:
    ptxas = {"registers": 40, "spill_bytes": 8, "shared_bytes": 1024, "occupancy": occupancy}
    return {"key": "k", "kind": "conv2d", "flop": flop, "ptxas": ptxas, **more}


def test_operations_count_more_where_few_warps_hide_memory() -> None:
    found = gpu_guess.rank(
        {"busy": facts(4e9, 0.75), "idle": facts(2e9, 0.125), "small": facts(1e9, 0.5)}
    )
    assert [each.name for each in found] == ["idle", "busy", "small"]
    assert [each.share for each in found] == pytest.approx([8 / 13, 4 / 13, 1 / 13])
    first = found[0]
    assert (first.registers, first.spill_bytes, first.shared_bytes) == (40, 8, 1024)
    assert (first.gflop, first.kind, first.tuned) == (2.0, "conv2d", False)


def test_calls_and_records_and_nodes() -> None:
    twice, once = gpu_guess.rank(
        {
            "once": facts(3e9, measured_us=7.0),
            "twice": facts(2e9, calls=2, nodes=["a", "b"]),
        }
    )
    assert (twice.name, twice.calls, twice.gflop) == ("twice", 2, 4.0)
    assert (twice.nodes, once.nodes) == (["a", "b"], [])
    assert (twice.tuned, once.tuned) == (False, True)


def test_nothing_is_known() -> None:
    assert gpu_guess.rank({}) == []
    (only,) = gpu_guess.rank({"a": {"key": "k"}})
    assert (only.share, only.occupancy) == (0.0, None)
