from __future__ import annotations

import json
from typing import Any

import pytest

from tvmkd.boards.fleet import running_fleet


@pytest.mark.rpc
def test_a_board_is_checked_with_a_kernel_whose_answer_is_known(tvmkd: Any) -> None:
    with running_fleet(1, key="mine", threads=1) as fleet:
        argv = ["--rpc-tracker", f"{fleet.host}:{fleet.port}", "--json"]
        done = tvmkd("board", "doctor", "--rpc-key", "mine", *argv)
        assert done.code == 0
        checks = {check["name"]: check for check in json.loads(done.out)["boards"]["a free board"]}
        assert checks["kernel"]["status"] == "ok"
        assert "a matrix product is right" in checks["kernel"]["finding"]
        assert set(checks) == {"kernel", "round trip", "timing noise"}
        done = tvmkd("board", "doctor", "--rpc-key", "mine", "--target", "jetson-nano", *argv)
        assert (done.code, json.loads(done.out)["ok"]) == (4, False)
        done = tvmkd("board", "doctor", "--rpc-key", "yours", *argv)
        assert (done.code, "keys there: mine" in done.line) == (5, True)
