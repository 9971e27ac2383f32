"""The plots of a stream's page: latency over time, the steps' histograms, heat."""

from __future__ import annotations

from collections.abc import Sequence

from tvmkd.deploy.streaming.result import Stage, StreamResult
from tvmkd.report.charts import WIDE
from tvmkd.report.svg import Canvas, Scale, number


def _axes(canvas: Canvas, x: Scale, y: Scale, label: str, unit: str) -> None:
    top, bottom = y.end, y.start
    for tick in x.ticks(8 if canvas.width == WIDE else 4):
        canvas.line(x(tick), top, x(tick), bottom, "grid")
        canvas.text(x(tick), bottom + 17, number(tick), "small", "middle")
    canvas.text(x.end, bottom + 35, label, "small", "end")
    for tick in y.ticks(5):
        canvas.line(x.start, y(tick), x.end, y(tick), "grid")
        canvas.text(x.start - 8, y(tick) + 4, number(tick), "small", "end")
    canvas.text(0, top - 12, unit, "small")


def over_time(result: StreamResult, width: int) -> Canvas:
    """The worst and the median latency of each part, the deadline, and drops of frames."""
    left, right, top, bottom = 52, width - 14, 34, 280
    moments, budget = result.timeline, result.settings.budget_ms
    high = 1.1 * max(result.latency.worst, budget)
    x = Scale(0, max(result.seconds, 1.0), left, right)
    y = Scale(0, high, bottom, top)
    canvas = Canvas(
        width,
        bottom + 42,
        "Latency over time",
        f"median {result.latency.p50:.3g} ms, worst {result.latency.worst:.3g} ms, deadline "
        f"{budget:.4g} ms, {result.late} late, {result.dropped} dropped",
    )
    _axes(canvas, x, y, "seconds", "ms")
    length = moments[1].second - moments[0].second if len(moments) > 1 else result.seconds
    for moment in moments:
        if moment.worst is None or moment.p50 is None:
            continue
        at, wide = x(moment.second), max(x(moment.second + length) - x(moment.second) - 1, 1.0)
        tip = f"{moment.second:g} s: median {moment.p50:.3g} ms, worst {moment.worst:.3g} ms"
        over = moment.worst > budget
        css = "late" if over else "soft-first"
        canvas.rect(at, y(moment.worst), wide, bottom - y(moment.worst), css, tip)
    medians = [(x(m.second + length / 2), y(m.p50)) for m in moments if m.p50 is not None]
    if len(medians) > 1:
        canvas.path(medians, "curve")
    for moment in moments:
        if moment.dropped:
            tip = f"{moment.second:g} s: {moment.dropped} frames dropped"
            wide = max(length / x.high * (right - left) - 1, 2)
            canvas.rect(x(moment.second), bottom + 1, wide, 5, "dropped", tip)
    canvas.line(left, y(budget), right, y(budget), "budget")
    canvas.text(right, y(budget) - 6, f"deadline {budget:.4g} ms", "mark", "end")
    for change in result.changes:
        at = x(change.second)
        canvas.line(at, top - 4, at, bottom, "tick99")
        near = at > right - 60
        anchor = "end" if near else "start"
        canvas.text(at - 4 if near else at + 4, top - 8, f"model {change.after}", "small", anchor)
    return canvas


def histograms(result: StreamResult, width: int) -> Canvas:
    """A row a step, all on one logarithmic axis."""
    stages = [stage for stage in result.stages if stage.ms.worst > 0]
    budget = result.settings.budget_ms
    low = max(min(stage.ms.p50 for stage in stages) / 3, 1e-4)
    high = 1.3 * max(budget, *(stage.ms.worst for stage in stages))
    left, top, row = (170, 26, 64) if width == WIDE else (0, 28, 80)
    right = width - 10
    bottom = top + row * len(stages)
    canvas = Canvas(
        width,
        bottom + 42,
        "Time of each step",
        "; ".join(
            f"{stage.name}: median {stage.ms.p50:.3g} ms, worst {stage.ms.worst:.3g} ms"
            for stage in stages
        ),
    )
    x = Scale(low, high, left, right, log=True)
    for tick in x.ticks(8 if width == WIDE else 4):
        canvas.line(x(tick), top - 4, x(tick), bottom, "grid")
        canvas.text(x(tick), bottom + 17, number(tick), "small", "middle")
    canvas.text(right, bottom + 35, "ms, logarithmic", "small", "end")
    for index, stage in enumerate(stages):
        base = top + row * (index + 1) - 10
        _hill(canvas, x, stage, base, row - 30 if width == WIDE else row - 46)
        canvas.line(left, base, right, base, "axis")
        canvas.line(x(stage.ms.p50), base - 18, x(stage.ms.p50), base + 5, "tick")
        canvas.line(x(stage.ms.p99), base - 18, x(stage.ms.p99), base + 5, "tick99")
        worst = f"worst {stage.ms.worst:.3g} ms"
        if width == WIDE:
            canvas.text(left - 12, base - 18, stage.name, "strong", "end")
            canvas.text(left - 12, base - 2, worst, "small", "end")
        else:
            canvas.text(0, base - row + 42, stage.name, "strong")
            canvas.text(width, base - row + 42, worst, "label small", "end")
    canvas.line(x(budget), top - 8, x(budget), bottom, "budget")
    canvas.text(x(budget), top - 12, f"budget {budget:.4g} ms", "mark", "end")
    return canvas


def _hill(canvas: Canvas, x: Scale, stage: Stage, base: float, height: float) -> None:
    """The histogram as bars; the root keeps a single slow frame visible."""
    most = max(stage.counts)
    for low, high, count in zip(stage.edges, stage.edges[1:], stage.counts, strict=False):
        if not count or high <= x.low:
            continue
        tall = max(height * (count / most) ** 0.5, 1.5)
        wide = max(x(high) - x(low), 1.0)
        tip = f"{stage.name}: {count} frames of {low:.3g} to {high:.3g} ms"
        canvas.rect(x(low), base - tall, wide, tall, "fill-first", tip)


def heat(result: StreamResult, width: int) -> Canvas:
    """The hottest zone, and the slowest clock as a share of its highest reading."""
    left, right, top, bottom = 52, width - (52 if width == WIDE else 14), 34, 230
    states = result.states
    warm = [(state.second, state.celsius) for state in states if state.celsius is not None]
    clocks = [(state.second, state.mhz) for state in states if state.mhz is not None]
    canvas = Canvas(width, bottom + 42, "Temperature and clocks", _told(warm, clocks))
    first = min(state.second for state in states)
    x = Scale(first, max(result.seconds, first + 1.0), left, right)
    if warm:
        values = [celsius for _, celsius in warm]
        y = Scale(min(values) - 3, max(values) + 3, bottom, top)
        _axes(canvas, x, y, "seconds", "°C")
        canvas.path([(x(at), y(celsius)) for at, celsius in warm], "curve")
    else:
        y = Scale(0, 1, bottom, top)
        _axes(canvas, x, Scale(0, max(mhz for _, mhz in clocks), bottom, top), "seconds", "MHz")
    if clocks:
        fastest = max(mhz for _, mhz in clocks)
        scale = Scale(0, 1.05 * fastest, bottom, top)
        canvas.path([(x(at), scale(mhz)) for at, mhz in clocks], "frontier")
        at, last = clocks[-1]
        canvas.text(x(at), scale(last) - 6, f"{last:.0f} MHz", "small", "end")
    for state in states:
        if state.throttled:
            canvas.rect(x(state.second) - 1, bottom + 1, 3, 5, "dropped", "throttled")
    return canvas


def _told(warm: Sequence[tuple[float, float]], clocks: Sequence[tuple[float, float]]) -> str:
    parts = []
    for values, unit in ((warm, "°C"), (clocks, "MHz")):
        if values:
            numbers = [value for _, value in values]
            parts.append(f"{min(numbers):.0f} to {max(numbers):.0f} {unit}")
    return ", ".join(parts)
