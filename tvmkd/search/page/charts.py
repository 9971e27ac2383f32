"""The smaller plots of a study: predicted against measured time, and the progress of the search."""

from __future__ import annotations

from collections.abc import Sequence

from tvmkd.report.charts import WIDE
from tvmkd.report.svg import Canvas, Scale, number
from tvmkd.search import choice, front
from tvmkd.search.page import agreement, scales
from tvmkd.search.page.wording import Wording, baseline_name
from tvmkd.search.results import Point, Study

BANDS = (0.1, 0.05)
"""Of the measured time, the wider one first."""
FEW = 5
"""With fewer finished trainings, those that were stopped early set the scale of the progress."""
SIDE = 460
"""Width of the two plots that stand side by side."""


def predictions(study: Study) -> Canvas:
    """Measured against predicted time, with the bands of 5 % and 10 %.

    The study must have a point with both.
    """
    known = _both(study)
    times = [time for pair in known for time in pair[1:3]]
    left, top, right, bottom = 50, 14, SIDE - 12, SIDE - 60
    x = scales.latency(times, left, right)
    y = Scale(x.low, x.high, bottom, top, x.log)
    canvas = Canvas(
        SIDE,
        SIDE - 18,
        "Measured against predicted time",
        f"{len(known)} networks, from {min(times):.3g} to {max(times):.3g} {study.unit}",
    )
    for off in BANDS:
        canvas.path(_band(x, y, off), f"band{round(100 * off)}", close=True)
    for tick in x.ticks(5):
        canvas.line(x(tick), top, x(tick), bottom, "grid")
        canvas.text(x(tick), bottom + 17, number(tick), "small", "middle")
        canvas.line(left, y(tick), right, y(tick), "grid")
        canvas.text(left - 8, y(tick) + 4, number(tick), "small", "end")
    canvas.path([(x(x.low), y(x.low)), (x(x.high), y(x.high))], "axis")
    log = ", logarithmic" if x.log else ""
    canvas.text(right, bottom + 35, f"predicted, {study.unit}{log}", "small", "end")
    canvas.text(left + 6, top + 12, f"measured, {study.unit}", "small label")
    for tip, predicted, measured, css in known:
        canvas.circle(x(predicted), y(measured), 4.5, f"dot fill-{css}", tip)
    return canvas


def errors(study: Study) -> Canvas:
    """How far the measured time of each network is from the predicted one, over the latter."""
    known = _both(study)
    off = [measured / predicted - 1 for _, predicted, measured, _ in known]
    left, top, right, bottom = 50, 14, SIDE - 12, SIDE - 60
    x = scales.latency([pair[1] for pair in known], left, right)
    reach = min(max(0.15, 1.2 * max(map(abs, off))), 0.5)
    y = Scale(-100 * reach, 100 * reach, bottom, top)
    canvas = Canvas(
        SIDE,
        SIDE - 18,
        "Error of the predictions",
        f"measured times are {min(off):+.1%} to {max(off):+.1%} from the predicted ones",
    )
    for band in BANDS:
        height = y(-100 * band) - y(100 * band)
        canvas.rect(left, y(100 * band), right - left, height, f"band{round(100 * band)}")
    for tick in x.ticks(5):
        canvas.line(x(tick), top, x(tick), bottom, "grid")
        canvas.text(x(tick), bottom + 17, number(tick), "small", "middle")
    for tick in y.ticks(6):
        canvas.line(left, y(tick), right, y(tick), "axis" if tick == 0 else "grid")
        canvas.text(left - 8, y(tick) + 4, f"{number(tick)}%", "small", "end")
    log = ", logarithmic" if x.log else ""
    canvas.text(right, bottom + 35, f"predicted, {study.unit}{log}", "small", "end")
    canvas.text(left + 6, top + 12, "measured, slower than predicted ↑", "small label")
    for (tip, predicted, _, css), value in zip(known, off, strict=True):
        canvas.circle(x(predicted), y(100 * value), 4.5, f"dot fill-{css}", tip)
    return canvas


def _both(study: Study) -> list[tuple[str, float, float, str]]:
    """(text, predicted, measured, class) of each network that has both times."""
    words = Wording(study)
    named = [(p, f"trial {p.number}", "first") for p in agreement.both(study.points)]
    named += [(p, f"by hand: {baseline_name(p)}", "other") for p in agreement.both(study.baselines)]
    found = []
    for point, name, css in named:
        predicted, measured = point.predicted or 0.0, point.measured or 0.0
        tip = f"{name}: {words.summary(point)}, {measured / predicted - 1:+.1%}"
        found.append((tip, predicted, measured, css))
    return found


def _band(x: Scale, y: Scale, off: float) -> list[tuple[float, float]]:
    """Where the prediction is at most ``off`` of the measured time away from it."""
    count = 24
    if x.log:
        ratio = (x.high / x.low) ** (1 / count)
        values = [x.low * ratio**i for i in range(count + 1)]
    else:
        values = [x.low + (x.high - x.low) * i / count for i in range(count + 1)]
    upper = [(x(value), y(value / (1 - off))) for value in values]
    lower = [(x(value), y(value / (1 + off))) for value in reversed(values)]
    return upper + lower


def progress(study: Study, width: int) -> Canvas:
    """The score of each trial, and the best within the budget so far.

    The study must have a trial with a score.
    """
    words = Wording(study)
    left, top, right, bottom = 56, 30, width - 14, 250
    steps = best_so_far(study)
    known = [(words.shown(p.accuracy), p.state) for p in study.points if p.accuracy is not None]
    finished = [score for score, state in known if state == "complete"]
    y = scales.score(
        [words.shown(score) for _, score in steps[-1:]],
        finished if len(finished) >= FEW else [score for score, _ in known],
        bottom,
        top,
        maximize=study.maximize,
        limits=(0.0, 100.0) if words.percent else None,
    )
    last = max(p.number for p in study.points)
    x = Scale(0, max(last, 1), left, right)
    told = f"{len(finished)} trained to the end"
    if steps:
        told += f"; the best within the budget: {words.score(steps[-1][1])}"
    canvas = Canvas(width, bottom + 42, "Progress of the search", told)
    for tick in x.ticks(9 if width == WIDE else 4):
        if tick == round(tick):
            canvas.text(x(tick), bottom + 17, number(tick), "small", "middle")
    canvas.text(right, bottom + 35, "trial", "small", "end")
    for tick in y.ticks(4):
        canvas.line(left, y(tick), right, y(tick), "grid")
        text = number(tick) + ("%" if words.percent else "")
        canvas.text(left - 8, y(tick) + 4, text, "small", "end")
    canvas.line(left, bottom, right, bottom, "axis")
    for point in study.points:
        _trial(canvas, point, x, y, words, bottom)
    line: list[tuple[float, float]] = []
    for trial, score in steps:
        at = x(trial), y(words.shown(score))
        line += [(at[0], line[-1][1]), at] if line else [at]
    if line:
        canvas.path([*line, (right, line[-1][1])], "curve")
    return canvas


def _trial(canvas: Canvas, point: Point, x: Scale, y: Scale, words: Wording, bottom: float) -> None:
    at = x(point.number)
    if point.accuracy is None:
        css = "late" if point.state == "failed" else "soft-other"
        tip = f"trial {point.number}: {point.error or point.state}"
        canvas.rect(at - 1.5, bottom - 9, 3, 9, css, tip)
        return
    css = {"complete": "dot fill-first"}.get(point.state, "dot fill-stopped")
    tip = f"trial {point.number}, {point.state} after {point.epochs} epochs: {words.summary(point)}"
    radius = 4.5 if point.state == "complete" else 3.5
    canvas.circle(at, y(words.shown(point.accuracy)), radius, css, tip)


def best_so_far(study: Study) -> list[tuple[int, float]]:
    """(trial, score) of each complete point within the budget that was better than all before."""
    found: list[tuple[int, float]] = []
    for point in sorted(front.usable(study.points), key=lambda p: p.number):
        score = front.accuracy_of(point)
        if not choice.within(point, study.budget):
            continue
        if not found or (score > found[-1][1] if study.maximize else score < found[-1][1]):
            found.append((point.number, score))
    return found


def has_scores(points: Sequence[Point]) -> bool:
    """Whether `progress` has anything to draw: more than one trial, and a score."""
    return len(points) > 1 and any(p.accuracy is not None for p in points)
