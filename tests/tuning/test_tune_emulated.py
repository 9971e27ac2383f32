"""Tuning on emulated boards: real uploads, real AArch64 code, a cost that repeats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_kernels

from tvmkd import targets
from tvmkd.boards import emulate
from tvmkd.boards.fleet import start_server
from tvmkd.tuning import records

NANO = targets.load("jetson-nano")
pytestmark = [
    pytest.mark.board,
    pytest.mark.rpc,
    pytest.mark.skipif(emulate.why_no_counts() is not None, reason=str(emulate.why_no_counts())),
]
COUNTS: dict[str, Any] = {"batch": 4, "evaluator": "icount"}


def figures(folder: Path) -> dict[str, float]:
    return {line["key"]: line["figure"] for line in records.read_lines(folder / records.TRIALS)}


def test_tuning_by_instructions_finds_a_faster_kernel_and_finds_it_again(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"target": NANO.to_dict(), "trials": 8, "seed": 3}
    with emulate.emulated_fleet(NANO, 1, "nano", icount=True) as address:
        for name in ("one", "two"):
            tiny_kernels.tune(tmp_path / name, address, options=COUNTS, **settings)
    one, two = figures(tmp_path / "one"), figures(tmp_path / "two")
    assert len(one) == 8
    assert min(one.values()) < 0.9 * max(one.values()), "the worst takes clearly more"
    both = set(one) & set(two)
    assert both
    assert all(abs(one[key] - two[key]) <= 0.001 * one[key] for key in both)
    info = json.loads((tmp_path / "one" / records.SIDECAR).read_text())
    assert (info["measured_on"], info["evaluator"]) == ("emulated", "icount")


def test_a_board_of_another_kind_under_the_key_gets_nothing(tmp_path: Path) -> None:
    with emulate.running_emulated_fleet(NANO, 1, "mixed") as fleet:
        other = start_server(f"{fleet.host}:{fleet.port}", "mixed", threads=1)
        try:
            other.wait_until_listening()
            settings: dict[str, Any] = {"target": NANO.to_dict(), "trials": 6}
            found = tiny_kernels.events(
                tiny_kernels.start(tmp_path / "nano", fleet.address(), **settings)
            )
            assert found[-1][0] == "result", found[-1]
            notes = [data["text"] for name, data in found if name == "note"]
            assert any("it is x86_64 and the target is aarch64" in note for note in notes)
            boards = {line["board"] for line in records.read_lines(tmp_path / "nano/trials.jsonl")}
            assert boards == {f"127.0.0.1:{fleet.servers[0].port}"}
        finally:
            other.end()
