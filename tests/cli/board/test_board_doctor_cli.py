from __future__ import annotations

import json
from typing import Any

import pytest

from tvmkd.boards.fleet import Fleet


@pytest.mark.rpc
def test_a_board_is_checked_with_a_kernel_whose_answer_is_known(tvmkd: Any, fleet: Fleet) -> None:
    argv = ["--rpc-tracker", f"{fleet.host}:{fleet.port}", "--json"]
    done = tvmkd("board", "doctor", "--rpc-key", fleet.key, *argv)
    assert done.code == 0
    checks = {check["name"]: check for check in json.loads(done.out)["boards"]["a free board"]}
    assert checks["kernel"]["status"] == "ok"
    assert "a matrix product is right" in checks["kernel"]["finding"]
    assert set(checks) == {"kernel", "round trip", "timing noise"}
    done = tvmkd("board", "doctor", "--rpc-key", fleet.key, "--target", "jetson-nano", *argv)
    assert (done.code, json.loads(done.out)["ok"]) == (4, False)
    done = tvmkd("board", "doctor", "--rpc-key", "yours", *argv)
    assert (done.code, f"keys there: {fleet.key}" in done.line) == (5, True)
