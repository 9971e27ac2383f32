from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tvmkd import targets
from tvmkd.base.errors import MissingError, UsageError
from tvmkd.boards.sysfs import Listing
from tvmkd.deploy.streaming import power_mode

NANO = {
    "/var/lib/nvpmodel/status": "pmode:0001 fmode:quiet",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
}
FULL = [["nvpmodel", "-m", "0"], ["jetson_clocks"]]


class Board:
    """Takes commands, and fails at one of them."""

    def __init__(self, fails: str = "") -> None:
        self.ran: list[str] = []
        self.fails = fails

    def __call__(self, command: Sequence[str]) -> None:
        words = [word if "/" not in word else "FILE" for word in command]
        self.ran.append(" ".join(words))
        if self.ran[-1] == self.fails:
            raise MissingError("it failed")


def test_the_modes_of_a_target() -> None:
    power = targets.load("jetson-nano").power
    assert power_mode.commands(power, "max") == FULL
    assert power_mode.commands(power, "idle") == [["nvpmodel", "-m", "1"]]
    with pytest.raises(
        UsageError, match=r'no power mode "maxx"; did you mean "max"\? \(it has max'
    ):
        power_mode.commands(power, "maxx")
    with pytest.raises(UsageError, match="it has none"):
        power_mode.commands({"watts": 10}, "watts")


def test_a_jetson_is_set_back_in_reverse() -> None:
    board = Board()
    with power_mode.applied(FULL, Listing(NANO), board):
        assert board.ran == ["nvpmodel -m 0", "jetson_clocks --store FILE", "jetson_clocks"]
        board.ran.clear()
    assert board.ran == ["jetson_clocks --restore FILE", "nvpmodel -m 1"]


def test_it_is_set_back_after_an_error_and_after_ctrl_c() -> None:
    for error in (RuntimeError, KeyboardInterrupt):
        board = Board()
        with pytest.raises(error), power_mode.applied(FULL, Listing(NANO), board):
            raise error
        assert board.ran[-2:] == ["jetson_clocks --restore FILE", "nvpmodel -m 1"]


def test_what_was_changed_before_a_failure_is_set_back() -> None:
    board = Board(fails="jetson_clocks")
    with pytest.raises(MissingError), power_mode.applied(FULL, Listing(NANO), board):
        raise AssertionError("the block must not run")
    assert board.ran[3:] == ["jetson_clocks --restore FILE", "nvpmodel -m 1"]


def test_one_failure_on_the_way_back_does_not_stop_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    board = Board(fails="jetson_clocks --restore FILE")
    with power_mode.applied(FULL, Listing(NANO), board):
        pass
    assert board.ran[-1] == "nvpmodel -m 1"
    assert "not set back: it failed" in capsys.readouterr().err


def test_a_governor_is_set_back() -> None:
    board = Board()
    command = ["cpupower", "frequency-set", "-g", "performance"]
    with power_mode.applied([command], Listing(NANO), board):
        pass
    assert board.ran[-1] == "cpupower frequency-set -g schedutil"


def test_what_cannot_be_undone_is_refused_before_anything_runs() -> None:
    board = Board()
    wanted = [["nvpmodel", "-m", "0"], ["sh", "-c", "true"]]
    refused = pytest.raises(UsageError, match="not known how to undo 'sh -c true'")
    with refused, power_mode.applied(wanted, Listing(NANO), board):
        pass
    assert board.ran == []


def test_commands_of_another_machine() -> None:
    refused = pytest.raises(MissingError, match="nvpmodel is not installed here")
    with refused, power_mode.applied(FULL, Listing({})):
        pass


def test_a_command_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvpmodel"
    tool.write_text('#!/bin/sh\necho "NVPM ERROR: must be run as root" >&2\nexit 3\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = r"nvpmodel -m 0 failed .*must be run as root.*as root"
    with pytest.raises(MissingError, match=told), power_mode.applied(FULL[:1], Listing(NANO)):
        pass
