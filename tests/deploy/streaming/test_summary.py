from __future__ import annotations

from rich.console import Console
from streams import laddered, result

from tvmkd.deploy.streaming import summary


def shown(made: object) -> list[list[str]]:
    screen = Console(width=120)
    with screen.capture() as captured:
        screen.print(made)
    return [line.split() for line in captured.get().splitlines()]


def test_each_step_against_the_budget() -> None:
    rows = shown(summary.table(result([10.0] * 20)))
    assert rows[0] == ["ms", "a", "frame", "p50", "p95", "p99", "worst", "of", "the", "budget"]
    assert ["model", "5.000", "5.000", "5.000", "5.000", "25%", "of", "20", "ms"] in rows
    total = ["10.000"] * 4
    assert ["release", "to", "end", *total, "50%", "of", "20", "ms"] in rows


def test_the_targets_budget_for_the_model() -> None:
    made = result([10.0] * 20)
    settings = made.settings.model_copy(update={"model_ms": 10.0})
    rows = shown(summary.table(made.model_copy(update={"settings": settings})))
    assert next(row for row in rows if row[0] == "model")[-4:] == ["50%", "of", "10", "ms"]


def test_the_verdict() -> None:
    assert summary.verdict(result([5.0] * 3)).startswith("all 3 frames were done in 20 ms")
    made = result([5.0, 25.0], numbers=[0, 3])
    assert summary.verdict(made) == (
        "3 of 4 frames MISSED 20 ms: 1 were late, 2 were dropped; the worst took 25 ms"
    )


def test_what_the_board_tells() -> None:
    assert summary.lines(result([5.0]))[-1].startswith("the board tells no temperature")
    lines = summary.lines(laddered())
    assert lines[-1] == "60.0 to 72.0 °C, THROTTLED at 1 of 3 readings"
    assert "at 1.7 s from model 0 to 1: 2 of 15 frames were late" in lines
    calm = summary.lines(result([5.0], celsius=[50.0, 60.0]))
    assert calm[-1] == "50.0 to 60.0 °C, never throttled"


def test_exits_are_counted() -> None:
    made = result([5.0] * 3)
    models = [made.models[0].model_copy(update={"exits": [1, 2]})]
    lines = summary.lines(made.model_copy(update={"models": models}))
    assert "model 0 (student): 3 frames, 1 left at exit 0, 2 left at exit 1" in lines
