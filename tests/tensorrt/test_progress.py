from __future__ import annotations

import io
import time

import pytest
from build_fakes import Generation
from rich.console import Console

from tvmkd.base import console
from tvmkd.tensorrt.log import log_of
from tvmkd.tensorrt.progress import Phases, monitor, watching


def test_nested_phases_give_one_share_that_never_falls() -> None:
    phases = Phases()
    phases.start("build", None, 2)
    phases.step("build", 0)
    assert phases.share() == 0.5
    phases.start("tune", "build", 4)
    phases.step("tune", 1)
    assert phases.share() == 0.75
    phases.finish("tune")
    # The parent's step has not been reported yet.
    assert phases.share() == 0.75
    phases.step("build", 1)
    assert phases.share() == 1.0
    phases.finish("build")
    assert phases.share() == 1.0


def test_a_phase_without_steps() -> None:
    phases = Phases()
    phases.start("build", None, 0)
    assert phases.share() == 0.0


def test_generations_before_10_have_no_monitor() -> None:
    module = Generation("8.6").module
    assert monitor(module, lambda _phase, _share: None, log_of(module)) is None


def test_an_exception_in_a_report_ends_the_build_and_does_not_reach_cpp() -> None:
    module = Generation("10").module
    log = log_of(module)

    def interrupted(_phase: str, _share: float) -> None:
        raise KeyboardInterrupt

    watch = monitor(module, interrupted, log)
    watch.phase_start("build", None, 1)
    assert isinstance(log.stopped, KeyboardInterrupt)
    assert watch.step_complete("build", 0) is False


def screen(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    shown = io.StringIO()
    made = Console(file=shown, force_terminal=terminal, width=100)
    monkeypatch.setattr(console, "console", lambda: made)
    return shown


@pytest.mark.parametrize("terminal", [True, False])
def test_a_fast_block_shows_nothing(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=terminal)
    with watching("building", after=60) as report:
        report("tuning", 0.5)
    assert shown.getvalue() == ""


def test_a_slow_block_shows_a_bar_with_the_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=True)
    with watching("building", after=0.0) as report:
        deadline = time.monotonic() + 20
        while "50/100" not in shown.getvalue() and time.monotonic() < deadline:
            report("[tuning]", 0.5)
            time.sleep(0.05)
    assert "50/100" in shown.getvalue()
    assert "[tuning]" in shown.getvalue()


def test_without_a_terminal_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=False)
    with watching("building", after=0.0) as report:
        deadline = time.monotonic() + 20
        while not shown.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        report("tuning", 0.5)
    assert shown.getvalue() == "building\n"
