from __future__ import annotations

from pathlib import Path

import board_client
import pytest

from tvmkd import targets
from tvmkd.base.errors import MissingError, UsageError
from tvmkd.boards import emulate

NANO = targets.load("jetson-nano")
pytestmark = [
    pytest.mark.board,
    pytest.mark.rpc,
    pytest.mark.skipif(emulate.why_not() is not None, reason=str(emulate.why_not())),
]


def test_instructions_repeat_over_sessions_and_grow_with_the_work(tmp_path: Path) -> None:
    if emulate.why_no_counts() is not None:
        pytest.skip(str(emulate.why_no_counts()))
    kernels = board_client.library(tmp_path, "aarch64-linux-gnu.2.27")
    with emulate.running_emulated_fleet(NANO, 1, "nano", icount=True) as fleet:
        counts = [
            [int(line) for line in board_client.ask(fleet, kernels, *calls)]
            for calls in [("count:loop:1000", "count:loop:2000")] * 3
        ]
    small, large = zip(*counts, strict=True)
    assert max(small) - min(small) <= 0.001 * max(small)
    assert max(large) - min(large) <= 0.001 * max(large)
    per_round = (large[0] - small[0]) / 1000
    assert 2 < per_round < 20, "a load, an addition, a store, a comparison and a jump"


def test_a_gpu_is_not_emulated() -> None:
    with pytest.raises(UsageError, match="an emulated board has no GPU"):
        emulate.start_board(targets.load("jetson-nano-gpu"), "127.0.0.1:1", "k")


def test_what_cannot_be_emulated_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"only AArch64 boards are emulated.*tvmkd board serve"):
        emulate.start_board(targets.load("host"), "h:1", "k")
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(MissingError, match="sudo apt-get install qemu-user"):
        emulate.start_board(NANO, "h:1", "k")
