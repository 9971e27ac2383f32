from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from studies import point

from tvmkd.search import front
from tvmkd.search.page.importances import LEAST, importances

SPACE = [(width, kind) for width in (0.25, 0.5, 1.0, 1.5) for kind in (["a"], ["b"], [])]
POINTS = [
    point(
        number,
        0.5 + width / 4,
        predicted=1.0 + len(kind),
        structure={"width": width, "exits": kind, "fixed": 3},
    )
    for number, (width, kind) in enumerate(SPACE)
]


def test_what_moves_the_score_is_named_first() -> None:
    pytest.importorskip("optuna")
    accuracy = importances(POINTS)
    assert list(accuracy) == ["width", "exits"], "a parameter with one value is left out"
    assert accuracy["width"] > 0.9
    assert sum(accuracy.values()) == pytest.approx(1)
    latency = importances(POINTS, front.latency_of)
    assert latency["exits"] > 0.9


def test_too_little_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(POINTS) == LEAST
    assert importances(POINTS[1:]) == {}
    equal = [each.model_copy(update={"accuracy": 0.5}) for each in POINTS]
    assert importances(equal) == {}
    alone = [each.model_copy(update={"structure": {}}) for each in POINTS]
    assert importances(alone) == {}

    def missing(name: str, *_: Any) -> None:
        assert name == "optuna"

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    assert importances(POINTS) == {}
