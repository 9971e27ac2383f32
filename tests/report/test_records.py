from __future__ import annotations

import json
from pathlib import Path

import pytest
import samples

from tvmkd.base.errors import InputError
from tvmkd.report import records


def _session(folder: Path, trials: list[tuple[str, float | None]]) -> Path:
    tasks = [{"key": "a", "name": "A", "weight": 2}, {"key": "b", "name": "B", "weight": 1}]
    (folder / "session.json").write_text(json.dumps({"tasks": tasks}))
    lines = [
        json.dumps({"task": task, "seconds": None if s is None else [s, s * 9, s / 9]})
        for task, s in trials
    ]
    (folder / "trials.jsonl").write_text("\n".join(lines))
    return folder


def test_the_curve_starts_when_every_task_has_a_figure(tmp_path: Path) -> None:
    folder = _session(
        tmp_path, [("a", 4e-3), ("a", 3e-3), ("b", None), ("b", 1e-3), ("a", 5e-3), ("a", 1e-3)]
    )
    history = records.read(folder)
    assert history is not None
    assert history.curve == [(4, pytest.approx(7.0)), (6, pytest.approx(3.0))]
    first, second = history.tasks
    assert (first.name, first.trials, first.failed) == ("A", 4, 0)
    assert (first.first_us, first.best_us) == (pytest.approx(4000), pytest.approx(1000))
    assert (second.name, second.trials, second.failed) == ("B", 2, 1)


def test_a_task_that_never_worked_does_not_hide_the_rest(tmp_path: Path) -> None:
    history = records.read(_session(tmp_path, [("a", 1e-3), ("b", None), ("a", 2e-3)]))
    assert history is not None
    assert history.curve == [(1, pytest.approx(2.0)), (3, pytest.approx(2.0))]
    assert history.tasks[1].best_us is None


def test_the_figure_is_the_sessions_own_and_keys_match_however_written(tmp_path: Path) -> None:
    tasks = [{"key": "0x0ab", "name": "A", "weight": 1}]
    (tmp_path / "session.json").write_text(json.dumps({"tasks": tasks}))
    (tmp_path / "trials.jsonl").write_text(
        '{"task": "0xab", "figure": 0.002, "seconds": [0.002, 0.009, 0.009]}\n'
    )
    history = records.read(tmp_path)
    assert history is not None
    assert history.curve == [(1, pytest.approx(2.0))]


def test_a_torn_last_line_is_nothing(tmp_path: Path) -> None:
    history = records.read(samples.records(tmp_path / "r", trials=30))
    assert history is not None
    assert history.trials == 30
    values = [value for _, value in history.curve]
    assert values == sorted(values, reverse=True)


def test_nothing_tried_yet_and_not_a_folder_of_records(tmp_path: Path) -> None:
    assert records.read(_session(tmp_path, [])) is None
    with pytest.raises(InputError, match="not a folder of tuning records"):
        records.read(tmp_path / "none")
