from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.early_exit import clock


def test_what_cannot_be_run_is_one_line_with_the_reason(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((2, 1, 8, 8), np.float32))
    with pytest.raises(
        InputError, match=r"could not be timed: .*no such|could not be timed: "
    ) as e:
        clock.network_ms(tmp_path / "exits", tmp_path / "whole", tmp_path / "images.npy", 1)
    assert "\n" not in str(e.value)
    assert "exits.json" in str(e.value)


def test_times_are_of_the_pieces_in_their_order() -> None:
    class Slow:
        def __init__(self, steps: int) -> None:
            self.steps = steps

        def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
            for _ in range(self.steps):
                np.sort(np.arange(20_000)[::-1])
            return [np.zeros((1, 2), np.float32), arrays[0]]

    images = np.zeros((4, 1, 2, 2), np.float32)
    found = clock._time_pieces([Slow(1), Slow(8)], Slow(30), images)  # type: ignore[list-item, arg-type]
    first, second = found["pieces"]
    assert 0 < first < second < found["whole"]
