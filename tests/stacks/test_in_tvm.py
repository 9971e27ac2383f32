"""The process with TVM: each test in a fork, failures with their reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from in_tvm import INSIDE, call, inside

STATE: list[int] = []


@inside("relax")
def change(path: Path, number: int = 1) -> list[object]:
    STATE.append(number)
    return [STATE, path.name, "tvm" in sys.modules, "torch" in sys.modules, os.getppid()]


@inside("relax")
def fail() -> None:
    wrong = 47
    assert wrong == 0


@inside("relax")
def crash() -> None:
    os.abort()


@pytest.mark.skipif(INSIDE, reason="this test runs where TVM is imported")
def test_each_call_is_a_fork_of_one_process_with_tvm(tmp_path: Path) -> None:
    first, second = change(tmp_path), change(tmp_path, number=2)
    assert first[:4] == [[1], tmp_path.name, True, False]
    assert second[0] == [2], "a call sees nothing of the one before"
    assert first[4] == second[4] != os.getppid()


@pytest.mark.skipif(INSIDE, reason="this test runs where TVM is imported")
def test_a_failure_says_where_and_with_which_values() -> None:
    with pytest.raises(AssertionError, match=r"(?s)assert wrong == 0.*wrong = 47"):
        fail()


@pytest.mark.skipif(INSIDE, reason="this test runs where TVM is imported")
def test_a_crash_is_the_failure_of_that_test_alone(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="crash: its process ended with status -6"):
        crash()
    assert change(tmp_path)[0] == [1]
    with pytest.raises(AssertionError, match="no attribute 'nothing'"):
        call("relax", __file__, "nothing")
