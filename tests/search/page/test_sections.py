from __future__ import annotations

import studies
from studies import point

from tvmkd.search.page import marked, sections
from tvmkd.search.results import Study

POINTS = [
    point(0, 0.90, measured=1.0, predicted=1.02, low=0.9, high=1.1, macs=9_000_000),
    point(1, 0.95, measured=3.0, predicted=3.4, low=3.2, high=3.6, macs=5_000_000),
    point(2, 0.96, measured=4.0, predicted=4.1, low=4.0, high=4.2, macs=7_000_000),
    point(3, 0.2, state="pruned"),
    point(4, state="infeasible"),
    point(5, state="failed"),
]


def study(**known: object) -> Study:
    fields = {"budget": 3.5, "winner": 1, "teacher": {"model": "big", "accuracy": 0.99, "macs": 4}}
    return studies.study(POINTS, **{**fields, **known})


def test_the_winner_stands_beside_what_others_would_take() -> None:
    hand = [point(0, 0.93, measured=2.0, structure={"name": "small"}), point(1, 0.99, measured=9)]
    made = study(baselines=hand)
    section = sections.alternatives(made, marked.find(made))
    assert section is not None
    (table,) = section.tables
    assert [row.name for row in table.rows] == [
        "this search: trial 1",
        "by MACs: trial 1",
        "by hand: small",
        "teacher: big",
    ]
    assert table.heads == ["choice", "accuracy", "test", "ms", "× the winner's", "MACs"]
    assert [cell.text for cell in table.rows[2].cells] == ["93.0%", "–", "2.00", "0.67", "–"]
    slow = study(baselines=hand[1:])
    section = sections.alternatives(slow, marked.find(slow))
    assert section is not None
    assert section.tables[0].rows[2].cells[2].text == "9.00"  # over the budget, and shown as such
    assert section.tables[0].rows[2].cells[2].pill == "over"
    alone = studies.study(POINTS[:1], winner=None)
    assert sections.alternatives(alone, marked.find(alone)) is None


def test_predictions_are_judged() -> None:
    section = sections.predictions(study())
    assert section is not None
    assert dict(section.facts) == {
        "Networks measured": "3",
        "Within 5%": "67%",
        "Within 10%": "67%",
        "Measured over predicted": "0.976 in the median",
        "Inside the predicted interval": "67%; 90% is what it promises",
        "Rank correlation": "1.000 (Spearman)",
    }
    assert section.chart.count("<svg") == 2
    assert sections.predictions(studies.study([point(0, 0.9, predicted=1.0)])) is None


def test_the_progress_counts_the_trials() -> None:
    section = sections.progress(study())
    assert section is not None
    counts = "3 trained to the end, 1 stopped early, 1 not trained: too slow, 1 failed."
    assert section.lead.startswith(counts)
    assert "pale dots were stopped early" in section.lead
    assert sections.progress(studies.study(POINTS[:1])) is None


def test_the_progress_of_a_supernet_says_whose_weights_scored() -> None:
    section = sections.progress(study(method="supernet"))
    assert section is not None
    assert "1 scored with the weights of the supernet, 1 not trained" in section.lead
    assert "pale dots were scored with the weights of the supernet" in section.lead


def test_how_it_was_searched() -> None:
    made = study(
        objective="weighted",
        reference=(0.85, 5.0),
        space={"width": "0.25 to 1.5"},
        table={"kernels_measured": 12, "error": {"p90": 0.0712}},
        board_seconds=61.0,
    )
    facts = sections.method(made).facts
    assert facts["Objective"] == "1 · (1 − accuracy) + 1 · latency ÷ budget"
    assert facts["Budget"] == "3.5 ms"
    assert facts["Teacher"] == "big, 99.0%, 4 MACs"
    assert facts["Board"] == "61 s busy"
    # 0.05 * 4 + 0.05 * 2 + 0.01 * 1
    assert facts["Hypervolume"] == "0.31 (accuracy × ms), against 85.0% at 5.00 ms"
    assert facts["Space: width"] == "0.25 to 1.5"
    assert facts["Table: kernels measured"] == "12"
    assert facts["Table: error"] == "p90 0.0712"
    assert "Training" not in facts


def test_too_few_networks_have_no_important_parameter() -> None:
    assert sections.parameters(study()) is None


def test_no_point_is_no_plot() -> None:
    made = studies.study(POINTS[3:])
    assert sections.pareto(made, marked.find(made)) is None
    section = sections.pareto(study(maximize=False), marked.find(study(maximize=False)))
    assert section is not None
    assert section.lead.startswith("Lower and further left")
