"""The plot of a study: accuracy against latency, with points that can be hovered and focused.

Lines are an SVG; points and their labels are links above it, at places in percent. So a point in
focus comes to the front with its text, without a script, and points keep their size on any screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tvmkd.report import environment
from tvmkd.report.charts import NARROW, WIDE
from tvmkd.report.svg import Canvas, Scale, number
from tvmkd.search import front
from tvmkd.search.page import scales
from tvmkd.search.page.labels import Box, free_place
from tvmkd.search.page.marked import Marked
from tvmkd.search.page.wording import Wording, baseline_name, structure
from tvmkd.search.results import Point, Study

INTERVALS = 60
"""With more points than this, only the marked ones show the interval of their prediction."""


@dataclass(frozen=True)
class Dot:
    """A point on the plot.

    Attributes:
        left, top: percent of the plot's width and height.
        css: classes: what it is, and to which side its text opens.
        href: the row of the table that it leads to.
        lines: its text; the first is its name.
        stop: whether the Tab key stops here; arrow keys reach the others.
    """

    left: float
    top: float
    css: str
    href: str
    lines: Sequence[str]
    stop: bool


@dataclass(frozen=True)
class Label:
    """A text beside a dot; ``end``: to the left of it."""

    left: float
    top: float
    css: str
    text: str
    end: bool


def draw(study: Study, known: Marked) -> Markup:
    """The plot at both widths; empty without a point to draw."""
    if not front.usable([*study.points, *study.baselines]):
        return Markup()
    plots = [_Plot(study, known, WIDE, 420), _Plot(study, known, NARROW, 330)]
    return Markup(environment.render("search_plot.html", plots=plots))


class _Plot:
    """One drawing.

    Attributes:
        css: ``wide`` or ``narrow``.
        svg: the lines.
        dots, labels: what lies above them, by rising latency.
    """

    def __init__(self, study: Study, known: Marked, width: int, bottom: int) -> None:
        self.css = "wide" if width == WIDE else "narrow"
        self._study, self._known, self._words = study, known, Wording(study)
        self._shown = front.usable(study.points)
        self._by_hand = front.usable(study.baselines)
        self._left, self._top, self._right, self._bottom = 56, 30, width - 14, bottom
        self._box = Box(self._left, self._top - 8, width, bottom)
        times = [front.latency_of(point) for point in [*self._shown, *self._by_hand]]
        shown = [p for p in self._shown if self._has_interval(p)]
        times += [end for p in shown for end in (p.low, p.high) if end]
        if study.budget is not None and min(times) / 3 < study.budget < 3 * max(times):
            times.append(study.budget)
        self._x = scales.latency(times, self._left, self._right)
        self._y = self._score_axis()
        self._canvas = Canvas(
            width,
            bottom + 42,
            f"{self._words.title} against latency",
            "; ".join(f"trial {p.number}: {self._words.summary(p)}" for p in known.front)
            or "no complete network",
        )
        self._axes()
        self._teacher()
        self._budget()
        self._lines()
        self.svg = self._canvas.render()
        self.dots = self._dots()
        self.labels = self._labels()

    def _at(self, point: Point) -> tuple[float, float]:
        score = self._words.shown(front.accuracy_of(point))
        return self._x(front.latency_of(point)), self._y(score)

    def _scores(self, points: Sequence[Point]) -> list[float]:
        return [self._words.shown(front.accuracy_of(point)) for point in points]

    def _score_axis(self) -> Scale:
        known = self._known
        special = [p for p in (known.winner, known.macs_pick) if p is not None]
        kept = self._scores([*front.usable(special), *known.front, *self._by_hand])
        teacher = self._study.teacher.get("accuracy")
        if isinstance(teacher, int | float):
            # One far above all would squeeze them together; the text names it in any case.
            value = self._words.shown(teacher)
            least, most = min(kept), max(kept)
            reach = most - least or 0.05 * abs(most)
            if least - reach <= value <= most + reach:
                kept.append(value)
        return scales.score(
            kept,
            self._scores(self._shown),
            self._bottom,
            self._top,
            maximize=self._study.maximize,
            limits=(0.0, 100.0) if self._words.percent else None,
        )

    def _axes(self) -> None:
        canvas, x, y = self._canvas, self._x, self._y
        for tick in x.ticks(9 if canvas.width == WIDE else 4):
            canvas.line(x(tick), self._top, x(tick), self._bottom, "grid")
            canvas.text(x(tick), self._bottom + 17, number(tick), "small", "middle")
        for tick in y.ticks(6):
            canvas.line(self._left, y(tick), self._right, y(tick), "grid")
            text = number(tick) + ("%" if self._words.percent else "")
            canvas.text(self._left - 8, y(tick) + 4, text, "small", "end")
        unit = f"{self._study.unit} for one call" + (", logarithmic" if x.log else "")
        canvas.text(self._right, self._bottom + 35, unit, "small", "end")

    def _teacher(self) -> None:
        teacher = self._study.teacher.get("accuracy")
        if not isinstance(teacher, int | float):
            return
        value = self._words.shown(teacher)
        if self._y.low <= value <= self._y.high:
            at = self._y(value)
            self._canvas.line(self._left, at, self._right, at, "teacher")
            text = f"teacher {self._words.score(teacher)}"
            self._canvas.text(self._left + 6, at - 6, text, "small label")

    def _budget(self) -> None:
        budget, x, canvas = self._study.budget, self._x, self._canvas
        if budget is None:
            return
        if not x.low < budget < x.high:
            text, side = f"budget {budget:g} {self._study.unit}", budget <= x.low
            text = f"← {text}" if side else f"{text} →"
            place = self._left if side else self._right
            canvas.text(place, self._top - 14, text, "mark", "start" if side else "end")
            return
        at = x(budget)
        canvas.rect(at, self._top, self._right - at, self._bottom - self._top, "beyond")
        canvas.line(at, self._top - 8, at, self._bottom, "budget")
        after = at < (self._left + self._right) / 2
        canvas.text(
            at + (6 if after else -6),
            self._top - 14,
            f"budget {budget:g} {self._study.unit}",
            "mark",
            "start" if after else "end",
        )

    def _lines(self) -> None:
        known, canvas = self._known, self._canvas
        if len(known.by_macs) > 1:
            canvas.path([self._at(point) for point in known.by_macs], "by-macs")
        steps: list[tuple[float, float]] = []
        for point in known.front:
            x, y = self._at(point)
            steps += [(x, steps[-1][1]), (x, y)] if steps else [(x, y)]
        if steps:
            canvas.path([*steps, (self._right, steps[-1][1])], "steps")
        for point in filter(self._has_interval, self._shown):
            y = self._at(point)[1]
            canvas.line(self._x(point.low or 0.0), y, self._x(point.high or 0.0), y, "interval")

    def _has_interval(self, point: Point) -> bool:
        """Whether the interval of its prediction is drawn."""
        told = point.low is not None and point.high is not None and point.measured is None
        return told and (len(self._shown) <= INTERVALS or bool(self._known.word(point)))

    def _dots(self) -> list[Dot]:
        made = []
        for point in self._shown:
            word = self._known.word(point)
            macs = point == self._known.macs_pick
            css = {"": "other", "to be measured": "front"}.get(word, word)
            css += " macs" if macs and word != "winner" else ""
            css += "" if point.measured is not None else " predicted"
            name = f"trial {point.number}" + (f", {word}" if word else "")
            name += ", the choice by MACs" if macs else ""
            lines = [name, self._words.summary(point), structure(point.structure)]
            made.append(self._dot(point, css, f"#trial-{point.number}", lines, bool(word or macs)))
        for index, point in enumerate(self._by_hand):
            lines = [f"by hand: {baseline_name(point)}", self._words.summary(point)]
            made.append(self._dot(point, "hand", f"#by-hand-{index}", lines, True))
        return sorted(made, key=lambda dot: dot.left)

    def _dot(self, point: Point, css: str, href: str, lines: list[str], stop: bool) -> Dot:
        x, y = self._at(point)
        left, top = 100 * x / self._canvas.width, 100 * y / self._canvas.height
        value = self._words.shown(front.accuracy_of(point))
        side = ("west" if left > 50 else "east") + (" north" if top > 50 else " south")
        outside = "" if self._y.low <= value <= self._y.high else " outside"
        return Dot(
            left, top, f"{css}{outside} {side}", href, [line for line in lines if line], stop
        )

    def _labels(self) -> list[Label]:
        """The names of the winner, of the choice by MACs and of the baselines."""
        named: list[tuple[Point, str, str]] = []
        winner, pick = self._known.winner, self._known.macs_pick
        if winner is not None and winner in self._shown:
            text = f"winner {self._words.score(front.accuracy_of(winner))}"
            named.append((winner, text + (", also by MACs" if pick == winner else ""), "first"))
        if pick is not None and pick != winner:
            named.append((pick, "choice by MACs", "mark"))
        named += [(point, baseline_name(point), "") for point in self._by_hand]
        busy = [self._at(point) for point in [*self._shown, *self._by_hand]]
        made: list[Label] = []
        boxes: list[Box] = []
        for point, text, css in named:
            box, end = free_place(self._at(point), text, busy, boxes, self._box)
            boxes.append(box)
            left, top = (box.right if end else box.left), (box.top + box.bottom) / 2
            made.append(
                Label(
                    100 * left / self._canvas.width, 100 * top / self._canvas.height, css, text, end
                )
            )
        return made
