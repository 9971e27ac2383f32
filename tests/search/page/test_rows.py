from __future__ import annotations

import pytest
import studies
from studies import point

from tvmkd.search.page import marked, rows
from tvmkd.search.results import Point


def grid(points: list[Point], **known: object) -> rows.Grid:
    made = studies.study(points, **known)
    return rows.make(made, marked.find(made))


POINTS = [
    point(0, 0.90, measured=4.0, predicted=3.2, low=3.0, high=3.5, structure={"w": 1.5}),
    point(1, 0.80, predicted=1.0, structure={"w": 0.5, "kind": "a"}, macs=2_400_000),
    point(2, None, state="failed", error="no memory", structure={"w": 2}),
    point(3, 0.85, measured=5.0, structure={"w": 1}),
    point(4, 0.3, state="pruned", structure={"w": 1}),
]


def test_the_front_comes_first_and_failures_last() -> None:
    made = grid(POINTS, winner=0, budget=3.9, baselines=[point(0, 0.7, measured=2.0)])
    assert [line.name for line in made.lines] == ["1", "0", "3", "4", "2", "by hand"]
    assert [line.pill for line in made.lines] == [
        "front",
        "winner",
        "",
        "pruned",
        "failed",
        "by hand",
    ]
    assert [line.anchor for line in made.lines[-2:]] == ["trial-2", "by-hand-0"]
    lower = grid(POINTS, maximize=False)
    assert [line.name for line in lower.lines] == ["1", "3", "0", "4", "2"]


def test_cells_have_a_text_and_what_they_are_sorted_by() -> None:
    made = grid(POINTS, budget=3.9)
    heads = [head.text for head in made.heads]
    assert heads == [
        *("trial", "w", "kind", "accuracy", "measured ms", "predicted ms", "off", "MACs"),
        "why it failed",
    ]
    winner = dict(zip(heads[1:], made.lines[1].cells, strict=True))
    assert winner["w"] == rows.Value("1.5", 1.5)
    assert winner["kind"] == rows.Value()
    assert winner["accuracy"] == rows.Value("90.0%", 0.9)
    assert winner["measured ms"] == rows.Value("4.00", 4.0, "bad"), "over the budget"
    assert winner["predicted ms"] == rows.Value("3.20 (3.00–3.50)", 3.2)
    assert winner["off"].text == "+25.0%"
    assert dict(zip(heads[1:], made.lines[0].cells, strict=True))["MACs"].text == "2.40 M"
    assert made.lines[-1].cells[-1].text == "no memory"


def test_many_parameters_are_one_column() -> None:
    structure = {f"p{index}": index for index in range(rows.COLUMNS + 1)}
    made = grid([point(0, 0.9, measured=1.0, structure=structure)])
    assert [head.text for head in made.heads[:3]] == ["trial", "structure", "accuracy"]
    assert made.lines[0].cells[0].text.startswith("p0 0, p1 1")


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999"), (34_000, "34.0 k"), (2_500_000, "2.50 M")]
)
def test_counts_are_short(count: int, text: str) -> None:
    assert rows.short(count) == text
