from __future__ import annotations

import time
from pathlib import Path
from typing import Any

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


def test_times_are_milliseconds_of_one_call() -> None:
    class Sleeps:
        def run(self, arrays: list[np.ndarray]) -> None:
            time.sleep(0.01)

    program: Any = Sleeps()
    times = interleaved._run_for(program, np.zeros(1), 0.05)
    assert 1 <= len(times) <= 5
    assert all(taken >= 10 for taken in times)


def test_every_artifact_gets_at_least_one_call_a_round() -> None:
    program: Any = type("Quick", (), {"run": lambda self, arrays: None})()
    assert len(interleaved._run_for(program, np.zeros(1), 0.0)) == 1
