from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_clock
import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.timing import interleaved


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "input.npy", np.zeros(1, np.float32))
    with pytest.raises(InputError, match="could not be timed") as caught:
        interleaved.in_turns([tmp_path / "artifact"], tmp_path / "input.npy", 1)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "artifact") in str(caught.value)


class Program:
    """An artifact whose calls take ``ms`` by a fake clock."""

    def __init__(self, name: str, clock: fake_clock.FakeClock, ms: float, log: list[str]) -> None:
        self.name, self.log = name, log
        self.call = clock.taking(ms)

    def run(self, arrays: list[np.ndarray]) -> None:
        assert [array.tolist() for array in arrays] == [[0.0]]
        self.log.append(self.name)
        self.call()


def test_programs_take_turns_in_both_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = fake_clock.plant(monkeypatch), []  # type: tuple[Any, list[str]]
    programs: list[Any] = [Program("a", clock, 20, log), Program("b", clock, 200, log)]
    found = interleaved.time_programs(programs, np.zeros(1), 1.0)
    # Warm-up for 0.3 s each, at least two calls.
    assert log[:17] == ["a"] * 15 + ["b"] * 2
    # A round has 0.1 s for each program, and ends after the call that exceeds it.
    first, second = ["a"] * 6, ["b"]
    assert log[17:] == (first + second + second + first) * 5
    assert found == [[[20.0] * 6] * 10, [[200.0]] * 10]
