from __future__ import annotations

from dataclasses import replace

from fleets import NANO, STUDENT, VIEW
from rich.console import Console

from tvmkd.deploy.monitoring import table
from tvmkd.deploy.monitoring.view import View


def shown(view: View) -> str:
    screen = Console(width=200)
    with screen.capture() as captured:
        screen.print(table.render(view))
    return captured.get()


def test_boards_and_models() -> None:
    lines = shown(VIEW).splitlines()
    assert lines[0].split()[:3] == ["board", "status", "°C"]
    assert "71 throttled: thermal-cpufreq-0" in lines[1]
    assert "down: No route to host" in lines[2]
    assert lines[3].split()[:3] == ["model", "server", "status"]
    assert "down: Connection refused" in lines[5]


def test_nothing_at_all() -> None:
    assert "no board and no model" in shown(View(0.0, (), ()))


def test_names_are_no_markup() -> None:
    odd = View(0.0, (replace(NANO, name="[red]a[/red]"),), (replace(STUDENT, model="[b]x"),))
    text = shown(odd)
    assert "[red]a[/red]" in text
    assert "[b]x 2" in text
