"""The sections of a study's page; None where there is nothing to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tvmkd.bench.table import seconds
from tvmkd.report.charts import both
from tvmkd.report.view import Cell, Row, Section, Table
from tvmkd.search import choice, front
from tvmkd.search.page import agreement, charts, plot
from tvmkd.search.page.importances import importances
from tvmkd.search.page.marked import Marked
from tvmkd.search.page.rows import short
from tvmkd.search.page.wording import Wording, baseline_name, scalar, short_name, significant
from tvmkd.search.results import Point, Study


def pareto(study: Study, known: Marked) -> Section | None:
    """Accuracy against latency."""
    drawn = plot.draw(study, known)
    if not drawn:
        return None
    words = Wording(study)
    better = "Higher" if study.maximize else "Lower"
    return Section(
        f"{words.title} against latency",
        f"{better} and further left is better. Point at a network, or go to it with the Tab and "
        "arrow keys, to see its structure; press Enter for its row in the table.",
        drawn,
    )


def alternatives(study: Study, known: Marked) -> Section | None:
    """The winner beside what others would have taken: by MACs, by hand, the teacher."""
    words = Wording(study)
    by_hand = _best_by_hand(study, study.budget) or _best_by_hand(study, None)
    found: list[tuple[str, Point]] = []
    if known.winner is not None:
        found.append((f"this search: trial {known.winner.number}", known.winner))
    if known.macs_pick is not None:
        found.append((f"by MACs: trial {known.macs_pick.number}", known.macs_pick))
    if by_hand is not None:
        found.append((f"by hand: {baseline_name(by_hand)}", by_hand))
    if len(found) < 2:
        return None
    rows = [
        Row(name, _facts(point, study, known, words), first=index == 0)
        for index, (name, point) in enumerate(found)
    ]
    if study.teacher:
        score, macs = study.teacher.get("accuracy"), study.teacher.get("macs")
        cells = [Cell(), Cell(words.score(score)) if isinstance(score, int | float) else Cell()]
        cells += [Cell(), Cell(), Cell(short(macs)) if isinstance(macs, int) else Cell()]
        rows.append(Row(f"teacher: {study.teacher.get('model', '')}", cells))
    heads = ("choice", words.metric, "test", study.unit, "× the winner's", "MACs")
    within = "" if study.budget is None else " within the budget"
    return Section(
        "What other choices would have given",
        f"By MACs: the best network{within} of those that no other beats in {words.metric} and in "
        "multiply-accumulates, where a search without a latency table ends.",
        tables=[Table(heads, rows).without_empty_columns()],
    )


def _best_by_hand(study: Study, budget: float | None) -> Point | None:
    return choice.choose(study.baselines, "accuracy", budget=budget, maximize=study.maximize).winner


def _facts(point: Point, study: Study, known: Marked, words: Wording) -> list[Cell]:
    time = point.latency or 0.0
    over = study.budget is not None and time > study.budget
    first = None if known.winner is None else known.winner.latency
    how = "measured" if point.measured is not None else "predicted"
    return [
        Cell() if point.accuracy is None else Cell(words.score(point.accuracy)),
        Cell() if point.test_accuracy is None else Cell(words.score(point.test_accuracy)),
        Cell(significant(time), how, "over" if over else "", "bad" if over else ""),
        Cell() if not first else Cell(f"{time / first:.2f}"),
        Cell() if not point.macs else Cell(short(point.macs)),
    ]


def predictions(study: Study) -> Section | None:
    """Measured against predicted times."""
    told = agreement.judge([*study.points, *study.baselines])
    if told is None:
        return None
    facts = {
        "Networks measured": str(told.count),
        "Within 5%": f"{told.within_5:.0%}",
        "Within 10%": f"{told.within_10:.0%}",
        "Measured over predicted": f"{told.ratio:.3f} in the median",
    }
    if told.inside is not None:
        facts["Inside the predicted interval"] = f"{told.inside:.0%}; 90% is what it promises"
    if told.rank is not None:
        facts["Rank correlation"] = f"{told.rank:.3f} (Spearman)"
    return Section(
        "How good the predictions were",
        "Each network that was measured; grey ones were made by hand. On the line the prediction "
        "was right; the bands are 5% and 10% of the measured time.",
        Markup('<div class="pair">{}{}</div>').format(
            charts.predictions(study).render(), charts.errors(study).render()
        ),
        facts=facts,
    )


def progress(study: Study) -> Section | None:
    """The scores in the order of the trials."""
    if not charts.has_scores(study.points):
        return None
    counts = Counter(point.state for point in study.points)
    shared = study.method == "supernet"
    texts = [f"{counts['complete']} trained to the end"]
    pale = "scored with the weights of the supernet" if shared else "stopped early"
    texts += [f"{counts['pruned']} {pale}"] * bool(counts["pruned"])
    texts += [f"{counts['infeasible']} not trained: too slow"] * bool(counts["infeasible"])
    texts += [f"{counts['failed']} failed"] * bool(counts["failed"])
    within = "so far" if study.budget is None else "within the budget so far"
    return Section(
        "Progress of the search",
        f"{', '.join(texts)}. The line is the best score {within}; pale dots were {pale}, "
        "marks at the bottom have no score.",
        both(lambda width: charts.progress(study, width)),
    )


def parameters(study: Study) -> Section | None:
    """Which parameters mattered, for accuracy and for latency."""
    accuracy = importances(study.points)
    latency = importances(study.points, front.latency_of)
    names = sorted(
        {*accuracy, *latency}, key=lambda name: -accuracy.get(name, 0) - latency.get(name, 0)
    )
    if not names:
        return None
    rows = [
        Row(
            short_name(name),
            [
                Cell(f"{accuracy.get(name, 0.0):.0%}"),
                Cell(share=accuracy.get(name, 0.0)),
                Cell(f"{latency.get(name, 0.0):.0%}"),
                Cell(share=latency.get(name, 0.0)),
            ],
        )
        for name in names
    ]
    heads = ("parameter", Wording(study).metric, "", "latency", "")
    return Section(
        "Which parameters mattered",
        "The share of the variation among the trained networks that each parameter explains "
        "(functional analysis of variance).",
        tables=[Table(heads, rows)],
    )


def method(study: Study) -> Section:
    """How the search was made, and where its latencies come from."""
    words = Wording(study)
    objective = {
        "accuracy": f"the best {study.metric} within the budget",
        "weighted": f"{study.alpha:g} · (1 − {study.metric}) + {study.beta:g} · latency ÷ budget",
        "front": "the whole front; the winner is its knee",
    }[study.objective]
    volume = front.volume(study)
    facts = {
        "Objective": objective,
        "Budget": "" if study.budget is None else f"{study.budget:g} {study.unit}",
        "Target": study.target,
        "Seed": str(study.seed),
        "Teacher": _teacher(study, words),
        "Training": seconds(study.training_seconds) if study.training_seconds else "",
        "Board": f"{seconds(study.board_seconds)} busy" if study.board_seconds else "",
        "Hypervolume": ""
        if volume is None or study.reference is None
        else f"{volume:.4g} ({study.metric} × {study.unit}), against "
        f"{words.score(study.reference[0])} at {words.latency(study.reference[1])}",
        **_prefixed("Space: ", study.space),
        **_prefixed("Table: ", study.table),
    }
    return Section("How it was searched", facts={k: v for k, v in facts.items() if v})


def _teacher(study: Study, words: Wording) -> str:
    told, texts = dict(study.teacher), []
    if isinstance(told.get("accuracy"), int | float):
        texts.append(words.score(told.pop("accuracy")))
    for name, unit in (("macs", "MACs"), ("parameters", "weights")):
        if isinstance(told.get(name), int):
            texts.append(f"{short(told.pop(name))} {unit}")
    model = told.pop("model", "")
    return ", ".join(filter(None, [str(model), *texts, scalar(told) if told else ""]))


def _prefixed(prefix: str, facts: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"{prefix}{short_name(name).replace('_', ' ')}": scalar(value)
        for name, value in facts.items()
    }
