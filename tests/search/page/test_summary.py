from __future__ import annotations

import studies
from studies import point

from tvmkd.search.page import marked, summary
from tvmkd.search.results import Study


def notes(study: Study) -> str:
    found = summary.notes(study, marked.find(study))
    return "\n".join(f"{note.subject} {note.text}".strip() for note in found)


def test_the_winner_is_the_headline() -> None:
    won = point(3, 0.952, measured=4.1, test_accuracy=0.943, structure={"width": 0.5}, seconds=7)
    made = studies.study([won], winner=3, budget=5.0, complete=True)
    known = marked.find(made)
    assert summary.headline(made, known) == ("Trial 3: 95.2% in 4.10 ms", "width 0.5")
    told = [(tile.value, tile.label, tile.mood) for tile in summary.tiles(made, known)]
    assert told == [
        ("4.10 ms", "the winner, measured", ""),
        ("82%", "of the budget", "good"),
        ("94.3%", "accuracy on the test images", ""),
        ("1", "on the front, of 1 tried", ""),
        ("7 s", "of training", ""),
    ]
    assert summary.notes(made, known) == []
    assert summary.eyebrow(made)[-1] == "budget 5 ms"


def test_no_winner_is_said_with_the_fastest() -> None:
    made = studies.study([point(0, 0.9, measured=6.0), point(1, 0.95, measured=7.0)], budget=5.0)
    head, detail = summary.headline(made, marked.find(made))
    assert head == "No network is known to meet the budget of 5 ms"
    assert detail == "The fastest is trial 0: 90.0%, 6.00 ms measured."
    nothing = studies.study([point(0, state="failed")])
    assert summary.headline(nothing, marked.find(nothing))[0] == "No network was trained to the end"
    assert summary.tiles(nothing, marked.find(nothing)) == []


def test_what_must_be_known_before_relying_on_it() -> None:
    points = [
        point(0, 0.9, predicted=4.0, high=4.2, low=3.8, interpolated=0.4),
        point(1, 0.95, predicted=4.9, high=5.2, low=4.7),
        point(2, state="failed", error="no memory"),
        point(3, state="failed", error="no memory"),
        point(4, state="failed", error="NaN"),
    ]
    told = notes(studies.study(points, budget=5.0, winner=0, teacher={"accuracy": 0.99}))
    for line in (
        "the search is not finished",
        "trial 0 its time is predicted; nobody measured it",
        "trial 0 40% of its time is in kernels that nobody measured",
        "trial 1 would be chosen if measurements",
        "3 trials failed, 2 of them: no memory",
        "the teacher's 99.0% are on the test images",
    ):
        assert line in told, line
    macs = notes(studies.study(points[:1], winner=0, unit="M MACs", complete=True))
    assert macs.startswith("there was no latency table")
    assert "nobody measured it" not in macs
    assert "an emulated board" in notes(studies.study(unit="M instructions"))


def test_intervals_that_do_not_hold_what_they_promise_are_told() -> None:
    off = [point(i, 0.9, predicted=1.0, low=0.9, high=1.1, measured=1.3) for i in range(5)]
    assert "only 0% of 5 measured times lie in the predicted interval" in notes(studies.study(off))
    assert "interval" not in notes(studies.study(off[:4]))
