"""The plots of a run's trainings: one line a training, in the colour of its kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tvmkd.report.charts import NARROW, WIDE
from tvmkd.report.svg import Canvas, Scale, number
from tvmkd.report.training_history import Epoch, History

COLOURS = 8
POINTS = {WIDE: 160, NARROW: 80}
"""Most points of a line; more would not be seen, and thirty trainings fill the page."""
LOG_FROM = 20.0
"""An axis of values above zero is logarithmic from this ratio of its ends on."""

Points = list[tuple[float, float]]
Value = Callable[[Epoch], "float | None"]


@dataclass(frozen=True)
class Line:
    """A training's values by epoch.

    Attributes:
        name: of the training.
        colour: number of its kind's colour.
        points: (epoch, value), finite.
    """

    name: str
    colour: int
    points: Points


def colours(trainings: Sequence[History]) -> dict[str, int]:
    """The colour of each kind of training, in the order of the run."""
    kinds = dict.fromkeys(training.head.kind for training in trainings)
    return {kind: index % COLOURS for index, kind in enumerate(kinds)}


def lines(trainings: Sequence[History], value: Value) -> list[Line]:
    """A line for each training that has the value."""
    known = colours(trainings)
    found = []
    for training in trainings:
        pairs = ((entry.epoch, value(entry)) for entry in training.epochs)
        points = [(float(at), each) for at, each in pairs if each is not None]
        points = [(at, each) for at, each in points if math.isfinite(each)]
        if points:
            found.append(Line(training.head.name, known[training.head.kind], points))
    return found


def curves(
    found: Sequence[Line],
    title: str,
    width: int,
    unit: str = "",
    *,
    percent: bool = False,
    linear: bool = False,
) -> Canvas:
    """A plot of lines over epochs.

    Args:
        found: at least one.
        title: above the plot.
        width: `WIDE` or `NARROW`: with it comes the height.
        unit: of the values, behind the title.
        percent: values are shares, shown as percentages.
        linear: the axis is never logarithmic.
    """
    left, top, right, bottom = 54, 30 if title else 14, width - 10, 320 if width == WIDE else 190
    factor = 100.0 if percent else 1.0
    values = [factor * each for line in found for _, each in line.points]
    limits = (0.0, 100.0) if percent else None
    y = _vertical(values, bottom, top, limits, linear)
    last = max(at for line in found for at, _ in line.points)
    first = min(at for line in found for at, _ in line.points)
    x = Scale(min(first, last - 1), last, left, right)
    ends = "; ".join(
        f"{line.name}: {factor * line.points[-1][1]:.4g} after {line.points[-1][0]:.0f} epochs"
        for line in found[:40]
    )
    canvas = Canvas(width, bottom + 38, title or "Curves", ends)
    for tick in x.ticks(8 if width == WIDE else 4):
        if tick == int(tick):
            canvas.line(x(tick), top, x(tick), bottom, "grid")
            canvas.text(x(tick), bottom + 16, number(tick), "small", "middle")
    for tick in y.ticks(6 if width == WIDE else 4):
        canvas.line(left, y(tick), right, y(tick), "grid")
        canvas.text(left - 7, y(tick) + 4, number(tick) + ("%" if percent else ""), "small", "end")
    about = ", ".join(word for word in (unit, "logarithmic" if y.log else "") if word)
    if title:
        canvas.text(0, 14, title, "strong")
    canvas.text(right, top - 4 if not title else 14, about, "small", "end")
    canvas.text(right, bottom + 33, "epochs", "small", "end")
    many = " many" if len(found) > 8 else ""
    for line in found:
        shown = thinned(line.points, POINTS[WIDE if width == WIDE else NARROW])
        places = [(x(at), y(factor * each)) for at, each in shown]
        tip = f"{line.name}: {factor * line.points[-1][1]:.4g}{'%' if percent else ''}"
        if len(places) > 1:
            canvas.path(places, f"run run-{line.colour}{many}", tip=tip)
        if len(places) <= 8:
            for place in places:
                canvas.circle(*place, 3, f"fill-run-{line.colour}", tip)
    return canvas


def thinned(points: Points, most: int) -> Points:
    """Evenly chosen points, the last one always."""
    if len(points) <= most:
        return points
    step = (len(points) - 1) / (most - 1)
    return [points[round(index * step)] for index in range(most)]


def _vertical(
    values: Sequence[float],
    start: float,
    end: float,
    limits: tuple[float, float] | None,
    linear: bool,
) -> Scale:
    """An axis that holds all values."""
    low, high = min(values), max(values)
    if low > 0 and high > LOG_FROM * low and not linear and limits is None:
        return Scale(low / 1.1, high * 1.1, start, end, log=True)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    under, over = low - pad, high + pad
    if low >= 0:
        under = max(under, 0.0) if low > 0.3 * high else 0.0
    if limits is not None:
        under, over = max(under, limits[0]), min(over, limits[1])
    return Scale(under, max(over, under + 1e-9), start, end)


def multiples(canvases: Sequence[Canvas]) -> Markup:
    """Small plots beside each other, as many as fit."""
    inner = Markup().join(canvas.render() for canvas in canvases)
    return Markup('<div class="multiples">{}</div>').format(inner)


def where_time_goes(
    rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], phases: Sequence[str], width: int
) -> Canvas:
    """A bar a training: the share of each phase.

    Args:
        rows: name of a training, and its phases with their seconds.
        phases: all of them, in their order.
        width: `WIDE` or `NARROW`.
    """
    wide = width == WIDE
    left, top, row = (250, 8, 26) if wide else (0, 8, 42)
    right = width - 76 if wide else width
    bottom = top + row * len(rows)
    text = "; ".join(
        f"{name}: " + ", ".join(f"{phase} {_share(each, parts)}" for phase, each in parts)
        for name, parts in rows[:40]
    )
    canvas = Canvas(width, bottom + 22, "Where time goes", text)
    x = Scale(0.0, 1.0, left, right)
    for index, (name, parts) in enumerate(rows):
        y = top + row * index + (0 if wide else 16)
        whole, at = sum(each for _, each in parts), 0.0
        for phase, each in parts:
            share = each / whole if whole else 0.0
            css = f"phase-{phases.index(phase)}"
            tip = f"{name}: {phase} {_share(each, parts)}, {seconds(each)}"
            canvas.rect(x(at), y, max(0.0, x(at + share) - x(at) - 1), 18, css, tip)
            at += share
        if wide:
            canvas.text(left - 10, y + 14, name, "small", "end")
            canvas.text(right + 8, y + 14, seconds(whole), "small")
        else:
            canvas.text(0, y - 4, name, "small")
            canvas.text(width, y - 4, seconds(whole), "small", "end")
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        canvas.text(
            x(tick),
            bottom + 14,
            f"{tick:.0%}",
            "small",
            "middle" if 0 < tick < 1 else ("start" if tick == 0 else "end"),
        )
    return canvas


def seconds(value: float) -> str:
    """A duration for people."""
    if value < 100:
        return f"{value:.3g} s"
    if value < 6000:
        return f"{value / 60:.1f} min"
    return f"{value / 3600:.1f} h"


def _share(value: float, parts: Sequence[tuple[str, float]]) -> str:
    whole = sum(each for _, each in parts)
    return f"{value / whole:.0%}" if whole else "0%"
