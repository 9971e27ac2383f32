"""The report's plots, each drawn for a given width: the page holds a wide and a narrow one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from tvmkd.bench.schema import Comparison, Engine
from tvmkd.bench.table import milliseconds, milliseconds_unit
from tvmkd.report.svg import Canvas, Scale, number

WIDE, NARROW = 940, 330
BINS = 160


def both(draw: Callable[[int], Canvas]) -> Markup:
    """The drawing at both widths; the style sheet shows the one that fits."""
    return draw(WIDE).render("wide") + draw(NARROW).render("narrow")


def _css(engine: str, comparison: Comparison) -> str:
    return "first" if engine == comparison.verdict.fastest else "other"


def _ranked(comparison: Comparison) -> list[Engine]:
    return sorted(comparison.engines, key=lambda engine: engine.p50)


def _x_axis(canvas: Canvas, scale: Scale, top: float, bottom: float, label: str) -> None:
    for tick in scale.ticks(8 if canvas.width == WIDE else 4):
        canvas.line(scale(tick), top, scale(tick), bottom, "grid")
        canvas.text(scale(tick), bottom + 17, number(tick), "small", "middle")
    canvas.text(scale.end, bottom + 35, label, "small", "end")


def budget(comparison: Comparison, width: int) -> Canvas:
    """A bar an engine: median solid, up to p99 pale, against the budget where there is one."""
    engines, limit = _ranked(comparison), comparison.budget
    # An untuned engine may take 20 times as long: its bar is cut rather than the others lost.
    near = [engine for engine in engines if engine.p50 <= 5 * engines[0].p50]
    high = 1.15 * max(min(engine.p99, 3 * engine.p50) for engine in near)
    if limit is not None:
        high = max(1.15 * limit.model_ms, min(high, 3 * limit.model_ms))
    left, top, row = (170, 26, 40) if width == WIDE else (0, 26, 52)
    right = width - 96 if width == WIDE else width - 4
    bottom = top + row * len(engines)
    what = ", ".join(
        f"{e.name} {milliseconds(e.p50)} ms (p99 {milliseconds(e.p99)})" for e in engines
    )
    canvas = Canvas(width, bottom + 42, "Median and p99 of each engine", what)
    scale = Scale(0, high, left, right)
    _x_axis(canvas, scale, top - 4, bottom, f"{milliseconds_unit(comparison)} for one call")
    for index, engine in enumerate(engines):
        css = _css(engine.name, comparison)
        y = top + row * index + (8 if width == WIDE else 22)
        over = limit is not None and engine.p99 > limit.model_ms
        value = f"{milliseconds(engine.p50)} – {milliseconds(engine.p99)}"
        tip = f"{engine.name}: median to p99, {value} ms"
        end = scale(engine.p99)
        canvas.rect(left, y, end - left, 20, f"soft-{css}", tip)
        canvas.rect(left, y, scale(engine.p50) - left, 20, f"fill-{css}", tip)
        name_css = "first" if css == "first" else "strong"
        if engine.p99 > high:
            canvas.path([(end - 12, y - 2), (end - 7, y + 22)], "cut")
            canvas.path([(end - 7, y - 2), (end - 2, y + 22)], "cut")
        value_css = "bad" if over else "small"
        if width == WIDE:
            canvas.text(left - 12, y + 15, engine.name, name_css, "end")
            canvas.text(right + 8, y + 15, value, value_css)
        else:
            canvas.text(0, y - 6, engine.name, name_css)
            canvas.text(width, y - 6, value, value_css, "end")
    if limit is not None:
        x = scale(limit.model_ms)
        canvas.line(x, top - 8, x, bottom, "budget")
        anchor = "middle" if left + 60 < x < right - 60 else "end"
        canvas.text(x, top - 13, f"budget {limit.model_ms:g} ms", "mark", anchor)
    return canvas


def distribution(comparison: Comparison, width: int) -> Canvas:
    """How the calls of each engine spread: a density an engine, with median and p99."""
    engines = _ranked(comparison)
    low = min(engine.min for engine in engines)
    high = max(stats_high(engine) for engine in engines)
    log = high > 6 * low
    pad = (high / low) ** 0.03 if log else max((high - low) * 0.03, low * 0.02)
    low, high = (low / pad, high * pad) if log else (low - pad, high + pad)
    left, top, row = (170, 10, 72) if width == WIDE else (0, 12, 84)
    right = width - 10
    bottom = top + row * len(engines)
    canvas = Canvas(
        width,
        bottom + 42,
        "Distribution of latency",
        "; ".join(
            f"{e.name}: from {milliseconds(e.min)} to {milliseconds(e.max)} ms, half below "
            f"{milliseconds(e.p50)}"
            for e in engines
        ),
    )
    scale = Scale(low, high, left, right, log)
    label = f"{milliseconds_unit(comparison)} for one call"
    _x_axis(canvas, scale, top, bottom, label + (", logarithmic" if log else ""))
    for index, engine in enumerate(engines):
        css = _css(engine.name, comparison)
        base = top + row * (index + 1) - 12
        height = row - 24 if width == WIDE else row - 44
        shape = density(engine.samples_ms, scale)
        points = [(x, base - share * height) for x, share in shape]
        tip = (
            f"{engine.name}: {len(engine.samples_ms)} calls, slowest {milliseconds(engine.max)} ms"
        )
        canvas.path(
            [(points[0][0], base), *points, (points[-1][0], base)],
            f"fill-{css}",
            close=True,
            tip=tip,
        )
        canvas.line(left, base, right, base, "axis")
        for value, tick in ((engine.p50, "tick"), (engine.p99, "tick99")):
            canvas.line(scale(value), base - height - 2, scale(value), base + 5, tick)
        name_css = "first" if css == "first" else "strong"
        worst = f"slowest {milliseconds(engine.max)} ms"
        if width == WIDE:
            canvas.text(left - 12, base - 18, engine.name, name_css, "end")
            canvas.text(left - 12, base - 2, worst, "small", "end")
        else:
            canvas.text(0, base - height - 12, engine.name, name_css)
            canvas.text(width, base - height - 12, worst, "small", "end")
    return canvas


def stats_high(engine: Engine) -> float:
    """Where the axis may end for this engine: past p99, but not at a single slow call."""
    return max(engine.p99, float(np.percentile(engine.samples_ms, 99.5)))


def density(samples: Sequence[float], scale: Scale) -> list[tuple[float, float]]:
    """(pixel, share of the highest) along the axis, from a smoothed histogram in pixels."""
    pixels = np.array([scale(value) for value in samples if value <= scale.high])
    counts, edges = np.histogram(pixels, bins=BINS, range=(scale.start, scale.end))
    offsets = np.arange(-6, 7)
    kernel = np.exp(-0.5 * (offsets / 1.6) ** 2)
    smooth = np.convolve(counts, kernel / kernel.sum(), mode="same")
    middle = (edges[:-1] + edges[1:]) / 2
    kept = np.nonzero(smooth > smooth.max() * 1e-3)[0]
    first, last = max(kept[0] - 1, 0), min(kept[-1] + 2, BINS)
    return [(float(middle[i]), float(smooth[i] / smooth.max())) for i in range(first, last)]


def accuracy(
    points: Sequence[tuple[str, float, float]],
    budget_ms: float | None,
    width: int,
    title: str = "Accuracy against latency",
) -> Canvas:
    """Accuracy against latency; ``points`` hold a name, an accuracy (0 to 1) and ms."""
    values = [100 * share for _, share, _ in points]
    times = [ms for _, _, ms in points]
    left, top, right, bottom = 52, 24, width - 20, 290
    spread = max(values) - min(values)
    pad = max(spread * 0.25, 0.5)
    y = Scale(max(0.0, min(values) - pad), min(100.0, max(values) + pad), bottom, top)
    reach = [*times, budget_ms] if budget_ms and budget_ms < 4 * max(times) else times
    log = max(reach) > 8 * min(reach)
    low, high = (min(reach) / 1.4, max(reach) * 1.6) if log else (0.0, max(reach) * 1.2)
    x = Scale(low, high, left, right, log)
    canvas = Canvas(
        width,
        bottom + 42,
        title,
        "; ".join(
            f"{name}: {100 * share:.2f}% at {milliseconds(ms)} ms" for name, share, ms in points
        ),
    )
    _x_axis(canvas, x, top, bottom, "ms for one call" + (", logarithmic" if log else ""))
    for tick in y.ticks(5):
        canvas.line(left, y(tick), right, y(tick), "grid")
        canvas.text(left - 8, y(tick) + 4, f"{number(tick)}%", "small", "end")
    if budget_ms is not None and low < budget_ms < high:
        canvas.line(x(budget_ms), top - 8, x(budget_ms), bottom, "budget")
        canvas.text(x(budget_ms) - 6, top - 10, f"budget {budget_ms:g} ms", "mark", "end")
    best = _frontier(points)
    canvas.path([(x(points[i][2]), y(100 * points[i][1])) for i in best], "frontier")
    taken: list[tuple[float, float, float]] = []
    for index, (name, share, ms) in enumerate(points):
        css = "first" if index in best else "other"
        at_x, at_y = x(ms), y(100 * share)
        canvas.circle(at_x, at_y, 6, f"dot fill-{css}", f"{name}: {100 * share:.2f}%, {ms:.3g} ms")
        _label(canvas, f"{name} {100 * share:.1f}%", at_x, at_y, css, taken)
    return canvas


def _label(
    canvas: Canvas,
    text: str,
    x: float,
    y: float,
    css: str,
    taken: list[tuple[float, float, float]],
) -> None:
    """Puts a label beside its dot where it does not cover another."""
    length = 7.6 * len(text)
    left_side = x + 12 + length > canvas.width and x - 12 - length > 0
    start = x - 12 - length if left_side else x + 12
    for shift in (4, -14, 22, -30, 38, -46, 54):
        free = all(
            abs(y + shift - other_y) > 14 or start + length < a or start > b
            for a, b, other_y in taken
        )
        if free:
            break
    taken.append((start, start + length, y + shift))
    anchor = "end" if left_side else "start"
    at = x - 12 if left_side else x + 12
    canvas.text(at, y + shift, text, "label first" if css == "first" else "label", anchor)


def _frontier(points: Sequence[tuple[str, float, float]]) -> list[int]:
    """The points that no other beats in both, from fast to slow."""
    order = sorted(range(len(points)), key=lambda i: (points[i][2], -points[i][1]))
    best, kept = -math.inf, []
    for i in order:
        if points[i][1] > best:
            kept.append(i)
            best = points[i][1]
    return kept


def tuning(curve: Sequence[tuple[int, float]], width: int) -> Canvas:
    """The model's estimated time (ms) as trials went on."""
    left, top, right, bottom = 52, 24, width - 80, 260
    first, last = curve[0], curve[-1]
    values = [value for _, value in curve]
    log = max(values) > 4 * min(values)
    y = Scale(min(values) / 1.15 if log else 0.0, max(values) * 1.1, bottom, top, log)
    x = Scale(0, max(last[0], 1), left, right)
    canvas = Canvas(
        width,
        bottom + 42,
        "Tuning curve",
        f"estimated {first[1]:.3g} ms after {first[0]} trials, {last[1]:.3g} ms after {last[0]}",
    )
    _x_axis(canvas, x, top, bottom, "trials")
    for tick in y.ticks(5):
        canvas.line(left, y(tick), right, y(tick), "grid")
        canvas.text(left - 8, y(tick) + 4, number(tick), "small", "end")
    canvas.text(
        0, top - 12, "ms, estimated from the kernels" + (", logarithmic" if log else ""), "small"
    )
    points = [(x(first[0]), y(first[1]))]
    for (_, before), (trial, value) in itertools.pairwise(curve):
        points += [(x(trial), y(before)), (x(trial), y(value))]
    canvas.path(points, "curve")
    canvas.circle(x(last[0]), y(last[1]), 5, "dot fill-first")
    canvas.text(x(last[0]) + 10, y(last[1]) + 4, f"{milliseconds(last[1])} ms", "first")
    return canvas
