from __future__ import annotations

import pytest

from tvmkd.config.budget import Budget, parse_budget


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        ("5ms", Budget(5.0)),
        (" 1.5 s ", Budget(1500.0)),
        ("800us", Budget(0.8)),
        ("800 µs", Budget(0.8)),
        ("2e5ns", Budget(0.2)),
        (5, Budget(5.0)),
        (0.25, Budget(0.25)),
        ("7", Budget(7.0)),
        ("12M", Budget(12.0, "M")),
        ("1.2 G", Budget(1200.0, "M")),
        ("500k", Budget(0.5, "M")),
    ],
)
def test_budgets(given: str | float, budget: Budget) -> None:
    assert parse_budget(given) == budget


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "wants a latency such as 5ms"),
        ("fast", "wants a latency such as 5ms"),
        ("-3ms", "wants a latency such as 5ms"),
        ("5ms 3", "wants a latency such as 5ms"),
        (True, "wants a latency such as 5ms"),
        (float("nan"), "wants a latency such as 5ms"),
        (float("inf"), "wants a latency such as 5ms"),
        ("5m", 'unknown unit "m"; known: ns, us'),
        ("5 MS", 'unknown unit "MS"'),
        ("0ms", "a budget is above 0"),
        ("1e999ms", "a budget is above 0"),
    ],
)
def test_what_is_no_budget(given: str | float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_budget(given)


def test_as_text() -> None:
    assert [str(parse_budget(text)) for text in ("1.5s", "12M")] == ["1500 ms", "12M"]
