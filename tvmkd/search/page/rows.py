"""The table of all networks of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvmkd.report.view import NOTHING, Mood
from tvmkd.search.page.marked import Marked
from tvmkd.search.page.wording import (
    Wording,
    baseline_name,
    scalar,
    short_name,
    significant,
    structure,
)
from tvmkd.search.results import Point, Study

COLUMNS = 8
"""Of parameters; with more, structures are one column."""
ORDER = {"complete": 1, "pruned": 2, "infeasible": 3, "failed": 4}


@dataclass(frozen=True)
class Head:
    """The head of a column; ``falls``: the greatest value comes first when it is sorted first."""

    text: str
    falls: bool = False
    words: bool = False
    tip: str = ""


@dataclass(frozen=True)
class Value:
    """A cell, and the number or text that it is sorted by; None comes last."""

    text: str = NOTHING
    sort: float | str | None = None
    mood: Mood = ""
    words: bool = False


@dataclass(frozen=True)
class Line:
    """A row: its anchor, its name with a mark, and the cells."""

    anchor: str
    name: str
    pill: str
    mood: Mood
    first: bool
    sort: float
    cells: Sequence[Value]


@dataclass(frozen=True)
class Grid:
    """The table; the first of ``heads`` is that of the names."""

    heads: Sequence[Head]
    lines: Sequence[Line]


def make(study: Study, known: Marked) -> Grid:
    """All points and baselines: the front first, then the others by their score; failed ones last.

    Columns without a value are left out.
    """
    words = Wording(study)
    names = list(dict.fromkeys(name for p in study.points for name in p.structure))
    if len(names) > COLUMNS:
        names = []
    error = any(point.error for point in study.points)
    heads = [
        *([Head(short_name(name)) for name in names] or [Head("structure", words=True)]),
        Head(words.metric, falls=study.maximize, tip="on the validation images"),
        Head("test", falls=study.maximize, tip="on the test images"),
        Head(f"measured {study.unit}"),
        Head(f"predicted {study.unit}"),
        Head("off", tip="how far the measured time is from the prediction"),
        Head("not measured", tip="share of the predicted time in kernels that nobody measured"),
        Head("MACs"),
        Head("weights"),
        Head("epochs"),
        Head("seconds", tip="of training"),
        *([Head("why it failed", words=True)] if error else []),
    ]
    lines = [
        _line(point, study, known, names, words, error)
        for point in sorted(study.points, key=lambda p: _order(p, study, known))
    ]
    lines += [
        Line(
            f"by-hand-{index}",
            baseline_name(point),
            "by hand",
            "",
            False,
            1e9 + index,
            _cells(point, study, names, words, error),
        )
        for index, point in enumerate(study.baselines)
    ]
    kept = [i for i in range(len(heads)) if any(line.cells[i].sort is not None for line in lines)]
    return Grid(
        [Head("trial"), *(heads[i] for i in kept)],
        [
            Line(
                line.anchor,
                line.name,
                line.pill,
                line.mood,
                line.first,
                line.sort,
                [line.cells[i] for i in kept],
            )
            for line in lines
        ],
    )


def _order(point: Point, study: Study, known: Marked) -> tuple[float, ...]:
    if point in known.front:
        return (0, point.latency or 0.0, point.number)
    score = point.accuracy if point.accuracy is not None else float("-inf")
    best = -score if study.maximize or point.accuracy is None else score
    return (ORDER[point.state], best, point.number)


def _line(
    point: Point, study: Study, known: Marked, names: Sequence[str], words: Wording, error: bool
) -> Line:
    word = known.word(point) or ("" if point.state == "complete" else point.state)
    mood: Mood = {"winner": "good", "front": "good", "failed": "bad"}.get(word, "")  # type: ignore[assignment]
    return Line(
        f"trial-{point.number}",
        str(point.number),
        word,
        mood,
        word == "winner",
        point.number,
        _cells(point, study, names, words, error),
    )


def _cells(
    point: Point, study: Study, names: Sequence[str], words: Wording, error: bool
) -> list[Value]:
    values = [_parameter(point.structure[n]) if n in point.structure else Value() for n in names]
    if not names:
        text = structure(point.structure)
        values = [Value(text, text, words=True)]
    off = None
    if point.measured and point.predicted:
        off = point.measured / point.predicted - 1
    over = study.budget is not None and (point.measured or 0.0) > study.budget
    between = ""
    if point.low is not None and point.high is not None:
        between = f" ({significant(point.low)}–{significant(point.high)})"
    values += [
        Value() if point.accuracy is None else Value(words.score(point.accuracy), point.accuracy),
        *(
            [Value()]
            if point.test_accuracy is None
            else [Value(words.score(point.test_accuracy), point.test_accuracy)]
        ),
        _number(point.measured, mood="bad" if over else ""),
        Value()
        if point.predicted is None
        else Value(significant(point.predicted) + between, point.predicted),
        Value() if off is None else Value(f"{off:+.1%}", abs(off)),
        Value(f"{point.interpolated:.0%}", point.interpolated) if point.interpolated else Value(),
        Value() if not point.macs else Value(short(point.macs), point.macs),
        Value() if not point.parameters else Value(short(point.parameters), point.parameters),
        Value(str(point.epochs), point.epochs) if point.epochs else Value(),
        _number(point.seconds or None),
    ]
    if error:
        values.append(Value(point.error or NOTHING, point.error, words=True))
    return values


def _parameter(value: object) -> Value:
    text = scalar(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return Value(text, float(value) if number else text)  # type: ignore[arg-type]


def _number(value: float | None, mood: Mood = "") -> Value:
    return Value() if value is None else Value(significant(value), value, mood)


def short(count: int) -> str:
    """``1.2 M``, ``340 k``."""
    if count >= 1_000_000:
        return f"{significant(count / 1e6)} M"
    return f"{significant(count / 1e3)} k" if count >= 1000 else str(count)
