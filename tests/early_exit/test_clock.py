from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmkd.base.errors import InputError
from tvmkd.early_exit import clock

IMAGES = np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1)


def test_what_cannot_be_run_is_one_line_with_the_reason(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((2, 1, 8, 8), np.float32))
    with pytest.raises(InputError, match="could not be timed: ") as e:
        clock.network_ms(tmp_path / "exits", tmp_path / "whole", tmp_path / "images.npy", 1)
    assert "\n" not in str(e.value)
    assert "exits.json" in str(e.value)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Which network ran on which image, warm-up not counted; each call takes its own time."""
    ran: list[tuple[str, float]] = []
    monkeypatch.setattr(clock, "ROUNDS", 4)
    monkeypatch.setattr(clock, "lead_in", lambda call, at_least_ns: None)

    def timed(call: Any) -> tuple[float, Any]:
        result = call()
        return COST[ran[-1][0]] * (1 + 10 * (len(ran) < 5)), result

    monkeypatch.setattr(clock, "timed", timed)
    return ran


COST = {"a": 1.0, "b": 2.0, "whole": 4.0, "network": 8.0}


class Piece:
    """Adds one to what it is given; its other output is a class."""

    def __init__(self, name: str, log: list[tuple[str, float]]) -> None:
        self.name, self.log = name, log

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        (values,) = arrays
        self.log.append((self.name, float(values[0, 0, 0, 0])))
        return [np.zeros((1, 2), np.float32), values + 1]


def test_pieces_and_whole_take_turns_in_both_orders(log: list[tuple[str, float]]) -> None:
    pieces: Any = [Piece("a", log), Piece("b", log)]
    whole: Any = Piece("whole", log)
    found = clock._time_pieces(pieces, whole, IMAGES)
    # A piece gets what the one before it gave.
    chains = [[("a", image), ("b", image + 1)] for image in (0.0, 1.0)]
    forward = [*chains[0], ("whole", 0.0), *chains[1], ("whole", 1.0)]
    backward = [("whole", 0.0), *chains[0], ("whole", 1.0), *chains[1]]
    assert log == (forward + backward) * 2
    # Medians: the first round, which was slow, does not show.
    assert found == {"pieces": [1.0, 2.0], "whole": 4.0}


def test_network_and_whole_take_turns_in_both_orders(log: list[tuple[str, float]]) -> None:
    whole: Any = Piece("whole", log)

    def network(image: np.ndarray) -> tuple[np.ndarray, int]:
        value = int(image[0, 0, 0, 0])
        log.append(("network", float(value)))
        return np.eye(3, dtype=np.float32)[[value + 1]], 1 - value

    found = clock._time_network(network, whole, IMAGES)  # type: ignore[arg-type]
    forward = [("network", 0.0), ("whole", 0.0), ("network", 1.0), ("whole", 1.0)]
    backward = [("whole", 0.0), ("network", 0.0), ("whole", 1.0), ("network", 1.0)]
    assert log == (forward + backward) * 2
    assert found == {
        "early": [8.0, 8.0],
        "whole": [4.0, 4.0],
        "exits": [1, 0],
        "classes": [1, 2],
    }
