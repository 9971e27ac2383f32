from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmkd import early_exit
from tvmkd.base.errors import InputError
from tvmkd.base.exits import NEVER, Rule
from tvmkd.early_exit import runtime
from tvmkd.early_exit.runtime import EXITS, EarlyExit, Plan


class Piece:
    """Gives logits and what it was given, plus one."""

    def __init__(self, *logits: float, last: bool = False) -> None:
        self.logits, self.last, self.calls = np.array([logits], np.float32), last, 0

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        self.calls += 1
        return [self.logits] if self.last else [self.logits, arrays[0] + 1]


def pieces() -> list[Any]:
    return [Piece(np.log(3.0), 0.0), Piece(2.0, 0.0), Piece(0.0, 5.0, last=True)]


@pytest.mark.parametrize(
    ("thresholds", "left"),
    [((0.7, 0.7), 0), ((0.76, 0.7), 1), ((0.76, 0.99), 2), ((NEVER, NEVER), 2), ((0.0, 0.0), 0)],
)
def test_it_stops_at_the_first_exit_that_is_sure(
    thresholds: tuple[float, float], left: int
) -> None:
    stages = pieces()
    logits, index = EarlyExit(stages, thresholds)(np.zeros((1, 2), np.float32))
    assert index == left
    assert logits is stages[left].logits
    assert [stage.calls for stage in stages] == [int(i <= left) for i in range(3)]


class Clock:
    """A clock that the pieces below move."""

    now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Pieces of 10, 20 and 30 ns."""
    clock = Clock()
    monkeypatch.setattr(runtime, "monotonic_ns", clock)

    def taking(piece: Any, ns: int) -> Any:
        run = piece.run

        def slower(arrays: list[np.ndarray]) -> Any:
            clock.now += ns
            return run(arrays)

        piece.run = slower
        return piece

    return [taking(piece, ns) for piece, ns in zip(pieces(), (10, 20, 30), strict=True)]


@pytest.mark.parametrize(
    ("left", "taken"), [(60, 2), (61, 2), (59, 1), (30, 1), (29, 0), (10, 0), (1, 0), (-5, 0)]
)
def test_the_last_exit_that_is_done_in_time_is_taken(
    slow: list[Any], left: int, taken: int
) -> None:
    network = EarlyExit(slow, (NEVER, NEVER))
    image = np.zeros((1, 2), np.float32)
    assert network.run_until(image, 10**9)[1] == 2  # every piece is timed
    logits, index = network.run_until(image, 60 + left)
    assert index == taken
    assert logits is slow[taken].logits


def test_a_confident_exit_is_taken_whatever_the_time(slow: list[Any]) -> None:
    assert EarlyExit(slow, (0.7, 0.7)).run_until(np.zeros((1, 2), np.float32), 10**9)[1] == 0


def test_before_the_first_run_nothing_is_expected(slow: list[Any]) -> None:
    assert EarlyExit(slow, (NEVER, NEVER)).run_until(np.zeros((1, 2), np.float32), 1)[1] == 2


def folder(place: Path) -> Path:
    """A folder with a plan, whose pieces hold nothing but a manifest."""
    for name in "01":
        (place / name).mkdir(parents=True)
        (place / name / "manifest.json").write_text(f'{{"name": "{name}"}}')
    Plan.of(place, ["0", "1"], [0.9]).save(place)
    return place


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    place = folder(tmp_path / "exits")
    assert Plan.read(place) == Plan.of(place, ["0", "1"], [0.9])


def test_temperatures_and_weights_are_kept_and_need_a_newer_reader(tmp_path: Path) -> None:
    place = folder(tmp_path / "exits")
    assert json.loads((place / EXITS).read_text())["schema_version"] == 1
    rule = Rule((0.9,), (1.25, 0.5), ((0.25, 0.25, 0.25, 0.25),))
    Plan.of(place, ["0", "1"], rule).save(place, measured={"any": 1})
    data = json.loads((place / EXITS).read_text())
    assert (data["schema_version"], data["measured"]) == (2, {"any": 1})
    assert Plan.read(place).rule == rule


def test_the_rule_decides_in_both_ways_of_running(slow: list[Any]) -> None:
    image = np.zeros((1, 2), np.float32)
    plain = EarlyExit(slow, (0.7, NEVER))
    assert (plain(image)[1], plain.thresholds) == (0, [0.7, NEVER])
    doubtful = EarlyExit(slow, Rule((0.7, NEVER), (1e6, 1.0, 1.0)))
    assert doubtful(image)[1] == doubtful.run_until(image, 10**9)[1] == 2
    # The second exit chooses what the first chose; its votes alone count.
    votes = Rule((NEVER, 1.0), (), ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)))
    agreed = EarlyExit(slow, votes)
    assert agreed(image)[1] == agreed.run_until(image, 10**9)[1] == 1


def changed(place: Path, **fields: Any) -> None:
    path = place / EXITS
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"schema_version": 9}, "version 9"),
        ({"thresholds": []}, "do not fit its pieces"),
        ({"thresholds": [float("nan")]}, "damaged: a threshold is not from 0 to 2"),
        ({"thresholds": ["x"]}, "damaged"),
        ({"pieces": [{"folder": "../0", "sha256": ""}] * 2}, "is not there"),
        ({"pieces": [{"folder": "0", "sha256": ""}] * 2}, "not the piece"),
        ({"pieces": 3}, "damaged"),
        ({"temperatures": [1.0]}, "damaged: 1 temperatures for 2 exits; distil again"),
        ({"temperatures": [1.0, -1.0]}, "damaged: a temperature is not above 0"),
        ({"temperatures": 1.0}, "damaged"),
        ({"weights": [[1.0]]}, "damaged: its weights are not 1 rows of 4"),
    ],
)
def test_a_damaged_plan_is_one_line(tmp_path: Path, fields: dict[str, Any], line: str) -> None:
    place = folder(tmp_path / "exits")
    changed(place, **fields)
    with pytest.raises(InputError, match=re.escape(line)) as caught:
        early_exit.load(place)
    assert str(place) in str(caught.value)


def test_a_piece_that_was_swapped_is_noticed(tmp_path: Path) -> None:
    place = folder(tmp_path / "exits")
    shutil.copy(place / "1/manifest.json", place / "0/manifest.json")
    with pytest.raises(InputError, match="not the piece"):
        early_exit.load(place)


def test_no_plan_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"exits.json: there is none; tvmkd distill"):
        early_exit.load(tmp_path)


def test_running_needs_no_torch() -> None:
    code = "import sys, tvmkd.early_exit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
