from __future__ import annotations

import io

import pytest
from rich.console import Console
from some_studies import POINTS, study, text

from tvmkd.search.study import live, network_table


def test_the_state_of_a_supernet_in_one_line() -> None:
    progress = live.Progress(9)
    progress.take("study", {"study": study(method="supernet")})
    line = "5 networks scored · 4 trained on · 1 too slow · 1 failed · best 95.0% at 4.20 ms"
    assert progress.line() == line


def test_the_view_has_a_line_for_each_worker() -> None:
    progress = network_table.Progress(9)
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
    assert lines[2].endswith(" · tuning kernels 5/9")
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
