from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from tvmkd.tuning import table


def task(key: str, weight: int = 1, best_us: float | None = None, trials: int = 0) -> Any:
    return {
        "key": key,
        "name": f"conv2d {key}",
        "weight": weight,
        "flop": 2e6,
        "trials": trials,
        "best_us": best_us,
    }


def trial(key: str, done: int, best_us: float | None, kind: str | None = None) -> Any:
    return {
        "task": key,
        "best_us": best_us,
        "trials_done": done,
        "trials_total": 8,
        "error_kind": kind,
    }


def play(follow: table.Follow) -> None:
    follow("note", {"text": "a torn last line [was] cut off"})
    follow("tasks", {"tasks": [task("a", 3, 10.0, 2), task("b")]})
    follow("trial", trial("a", 3, 8.0))
    follow("trial", trial("b", 4, None, "run_timeout"))
    follow("trial", trial("b", 5, 6.0))
    follow("estimate", {"end_to_end_us": 30.0, "time_left_s": 90.0})


def test_a_terminal_gets_a_table() -> None:
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=100, height=40, color_system=None)
    with table.following(screen) as follow:
        play(follow)
    text = out.getvalue()
    last = text[text.rindex("task") :]
    rows = [line.split() for line in last.splitlines() if "conv2d" in line]
    assert rows[0] == ["conv2d", "a", "3", "3", "8.0", "250.0", "80.0%"]
    assert rows[1] == ["conv2d", "b", "1", "2", "6.0", "333.3", "20.0%", "1", "run_timeout"]
    assert "5/8 trials · kernels add up to 0.030 ms · 1 run_timeout · 1:30 left" in last
    assert "a torn last line [was] cut off" in text


def test_a_pipe_gets_plain_lines() -> None:
    out = io.StringIO()
    with table.following(Console(file=out, force_terminal=False, width=60)) as follow:
        play(follow)
    lines = out.getvalue().splitlines()
    assert lines[0] == "a torn last line [was] cut off"
    assert lines[1].startswith("5/8 trials")
    assert len(lines) == 2


def test_many_tasks_fit_a_small_screen() -> None:
    progress = table.Progress()
    progress.take("tasks", {"tasks": [task(str(n), best_us=1.0 + n, trials=1) for n in range(50)]})
    out = io.StringIO()
    Console(file=out, width=90).print(table.table(progress, rows=5))
    text = out.getvalue()
    assert text.count("conv2d") == 5
    assert "45 more" in text
    assert text.index("conv2d 49") < text.index("conv2d 48")


def test_a_failure_in_the_block_still_shows_the_last_state() -> None:
    out = io.StringIO()

    def fail() -> None:
        with table.following(Console(file=out, force_terminal=False)) as follow:
            play(follow)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert "5/8 trials" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (185, "3:05"), (3723, "1:02:03")]
)
def test_durations(seconds: float, text: str) -> None:
    assert table.duration(seconds) == text
