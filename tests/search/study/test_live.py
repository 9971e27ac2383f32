from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tvmkd.search.results import Point, Study
from tvmkd.search.study import live


def point(number: int, state: str = "complete", **values: Any) -> Point:
    return Point(number=number, structure={"width": 0.5 + number}, state=state, **values)


POINTS = [
    point(0, accuracy=0.912, predicted=2.0, measured=2.1, parameters=1234),
    point(1, accuracy=0.95, predicted=4.0, measured=4.2),
    point(2, accuracy=0.99, predicted=9.0, low=8.0, high=9.9),
    point(3, accuracy=0.5, predicted=5.0),
    point(4, "pruned", accuracy=0.4, predicted=1.0),
    point(5, "infeasible", predicted=99.0),
    point(6, "failed", error="NaN"),
]


def study(points: list[Point] = POINTS, **changes: Any) -> Study:
    values: dict[str, Any] = {
        "tvmkd_version": "1",
        "name": "toy",
        "method": "study",
        "objective": "accuracy",
        "target": "host",
        "unit": "ms",
        "budget": 5.0,
        "metric": "accuracy",
        "points": points,
        "winner": 1,
    }
    return Study(**{**values, **changes})


def text(renderable: Any, width: int = 120) -> str:
    screen = Console(file=io.StringIO(), width=width)
    screen.print(renderable)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_the_state_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(live.time, "monotonic", lambda: now)
    progress = live.Progress(9)
    assert progress.line() == "0/9 networks"
    progress.take("study", {"study": study(POINTS[:1], winner=None)})
    assert progress.line() == "1/9 networks"
    now = 160.0
    progress.take("study", {"study": study()})
    line = "5/9 networks · 1 stopped early · 1 too slow · 1 failed · best 95.0% at 4.20 ms"
    assert progress.line() == f"{line} · 4.0 a minute · 1:00 left"
    progress.take("something else", {})
    done = live.Progress(5)
    done.take("study", {"study": study()})
    assert done.line() == line.replace("5/9", "5/5"), "nothing was done in this run"


def test_the_table_has_the_winner_first_then_the_front_then_others() -> None:
    progress = live.Progress(9)
    progress.take("study", {"study": study()})
    assert [each.number for each in progress.rows(9)] == [1, 2, 0, 3]
    shown = text(live.table(progress, 3, 120))
    rows = [line.split() for line in shown.splitlines() if "width" in line]
    assert rows[0][:6] == ["1", "95.0%", "4.20", "ms", "–", "winner,"]
    assert rows[1][:6] == ["2", "99.0%", "~9.00", "ms", "–", "front,"]
    assert "over budget" in shown.splitlines()[4]
    assert rows[2][:5] == ["0", "91.2%", "2.10", "ms", "1,234"]
    assert len(rows) == 3


def test_a_narrow_screen_cuts_structures_only() -> None:
    wide = study([POINTS[1].model_copy(update={"structure": {"blocks": [[16, 2]] * 9}})])
    shown = text(live.summary(wide, 80), 80)
    assert "95.0%" in shown
    assert "blocks [[16," in shown
    assert "…" in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80


def test_the_state_of_a_supernet_in_one_line() -> None:
    progress = live.Progress(9)
    progress.take("study", {"study": study(method="supernet")})
    line = "5 networks scored · 4 trained on · 1 too slow · 1 failed · best 95.0% at 4.20 ms"
    assert progress.line() == line


def test_the_view_has_a_line_for_each_worker() -> None:
    progress = live.Progress(9)
    progress.take("study", {"study": study([], winner=None)})
    progress.take("doing", {"worker": 1, "text": "training", "trial": 7, "done": 3, "total": 9})
    progress.take("doing", {"worker": 0, "text": "looking for a network"})
    shown = text(live.view(progress, 5, 80)).splitlines()
    assert shown[-3:] == [
        "worker 1: looking for a network",
        "worker 2: trial 7: training 3/9",
        "0/9 networks",
    ]


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(live.time, "monotonic", lambda: now)
    screen = Console(file=io.StringIO(), width=80)
    with live.following(9, screen) as follow:
        follow("doing", {"worker": 0, "text": "tuning kernels", "done": 1, "total": 9})
        now = 20.0
        follow("doing", {"worker": 0, "text": "tuning kernels", "done": 5, "total": 9})
        follow("study", {"study": study([], winner=None)})
        follow("note", {"text": "[bold] is no markup"})
        now = 40.0
        follow("study", {"study": study(POINTS[:1], winner=None)})
        follow("doing", {"worker": 0, "text": "training"})
        follow("study", {"study": study()})
    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    assert lines[:2] == ["tuning kernels 5/9", "[bold] is no markup"]
    assert lines[2].startswith("1/9 networks")
    assert lines[3].startswith("5/9 networks")
    assert len(lines) == 4


def test_a_terminal_shows_a_live_view_that_goes() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, height=30)
    with live.following(9, screen) as follow:
        follow("study", {"study": study()})
        follow("note", {"text": "a board is away"})
        assert isinstance(screen.file, io.StringIO)
        assert "a board is away" in screen.file.getvalue()
        assert "winner" in screen.file.getvalue()


def test_the_end_says_where_everything_is(tmp_path: Path) -> None:
    lines = live.ending(study(), tmp_path)
    assert lines[0] == "winner: trial 1, 95.0%, 4.20 ms measured, 4.00 ms predicted within 5.00 ms"
    assert "another machine trained it" in lines[1]
    assert lines[2] == "  ~: predicted; 2 of 4 networks are"
    assert lines[3] == f"  {tmp_path}/pareto.html: the page; {tmp_path}/study.json: all of it"
    (tmp_path / "winner").mkdir()
    (tmp_path / "winner" / "tvmkd.toml").touch()
    place = tmp_path / "winner" / "tvmkd.toml"
    assert (
        live.ending(study(), tmp_path)[1] == f"  {place}: continue with tvmkd run --config {place}"
    )
    none = live.ending(study(winner=None, budget=1.0), tmp_path)
    assert none[0] == "no network was found within 1.00 ms; the fastest takes 2.10 ms"
