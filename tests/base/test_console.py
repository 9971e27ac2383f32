from __future__ import annotations

import pytest

from tvmkd.base import console


@pytest.fixture(autouse=True)
def _fresh_console() -> None:
    # The console keeps the stderr of the time when it was made.
    console.console.cache_clear()


def test_lines_go_to_stderr_and_markup_is_not_interpreted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.say("[1/7] tune")
    console.warn("[bold]x[/bold]")
    done = capsys.readouterr()
    assert done.out == ""
    assert done.err == "[1/7] tune\nwarning: [bold]x[/bold]\n"


def test_without_a_terminal_each_step_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with console.working("first") as step:
        step("second [x]")
    assert capsys.readouterr().err == "first\nsecond [x]\n"


def test_nothing_remains_of_a_transient_bar_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.progress(transient=True) as bar:
        bar.update(bar.add_task("loading", total=3, note=""), completed=1)
    assert capsys.readouterr().err == ""


def test_in_a_live_view_only_lines_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with console.quiet():
        with console.working("first") as step, console.progress() as bar:
            step("second")
            bar.update(bar.add_task("loading", total=3, note=""), completed=3)
        console.say("a line")
    assert capsys.readouterr().err == "a line\n"
    with console.working("after"):
        pass
    assert capsys.readouterr().err == "after\n"
