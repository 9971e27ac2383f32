"""The report's sections with a chart or a table; None where there is nothing to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvmkd.base.text import heading
from tvmkd.bench.schema import Comparison, Engine
from tvmkd.bench.table import half_width, milliseconds, milliseconds_unit, seconds, size
from tvmkd.report import charts
from tvmkd.report.records import History, TaskGain
from tvmkd.report.view import NOTHING, Cell, Row, Section, Table

KERNELS_SHOWN = 14
TASKS_SHOWN = 14
TIMES = ("engine", "median", "95% CI", "p90", "p95", "p99", "× fastest")
COSTS = (
    *("engine", "size", "memory", "GPU memory", "load", "build", "tuning"),
    *("max error", "relative error", "allowed"),
)


def engines(comparison: Comparison) -> Section | None:
    """The latency of each engine as bars and as a table, and what it costs besides."""
    if not comparison.engines:
        return None
    ordered = sorted(comparison.engines, key=lambda engine: engine.p50)
    fastest = comparison.verdict.fastest
    times = Table(
        TIMES,
        [Row(e.name, _times(e, comparison), first=e.name == fastest) for e in ordered],
        f"Times in {milliseconds_unit(comparison)}.",
    )
    costs = Table(
        COSTS,
        [Row(e.name, _costs(e), first=e.name == fastest) for e in ordered],
        "Memory is the peak of the process, GPU memory that of the engine. Load is the time to "
        "open or compile the model; build and tuning are the times that the engine or the artifact "
        "took earlier. Errors are against ONNX Runtime in FP32; the relative and the allowed error "
        "are shares of the output's range.",
    )
    title = "Time for one call"
    return Section(
        title if comparison.budget is None else f"{title}, against the budget",
        "Solid to the median, pale to p99. A bar that is cut continues beyond the scale; its "
        "figures are beside it.",
        charts.both(lambda width: charts.budget(comparison, width)),
        [times, costs.without_empty_columns()],
    )


def _times(engine: Engine, comparison: Comparison) -> list[Cell]:
    pair = next((pair for pair in comparison.verdict.pairs if pair.name == engine.name), None)
    against = Cell("1")
    if pair is not None:
        tip = f"95% CI {pair.ci95[0]:.2f} to {pair.ci95[1]:.2f}"
        against = Cell(f"{pair.ratio:.2f}", tip)
        if not pair.decided:
            against = Cell(f"{pair.ratio:.2f}", tip, "level", "good")
    p99 = Cell(milliseconds(engine.p99))
    if comparison.budget is not None and engine.p99 > comparison.budget.model_ms:
        p99 = Cell(p99.text, pill="over", mood="bad")
    return [
        Cell(milliseconds(engine.p50)),
        Cell(f"± {milliseconds(half_width(engine))}"),
        Cell(milliseconds(engine.p90)),
        Cell(milliseconds(engine.p95)),
        p99,
        against,
    ]


def _costs(engine: Engine) -> list[Cell]:
    peak = engine.memory()
    texts = [
        size(engine.size_bytes),
        NOTHING if peak is None else f"{peak / 1e6:.0f} MB",
        size(engine.gpu_memory_bytes),
        *map(seconds, (engine.build_seconds, engine.engine_seconds, engine.tuning_seconds)),
        f"{engine.max_abs_error:.1e}",
        f"{engine.relative_error:.1e}",
        NOTHING if engine.tolerance is None else f"{engine.tolerance:.3g}",
    ]
    return [Cell(text) for text in texts]


def distribution(comparison: Comparison) -> Section | None:
    """The distribution of each engine's latency."""
    if not comparison.engines:
        return None
    return Section(
        "How steady each engine is",
        "Every call that was timed. The solid mark is the median, the dotted one p99; a narrow "
        "hill is a latency that can be relied on.",
        charts.both(lambda width: charts.distribution(comparison, width)),
    )


def accuracy(
    points: Sequence[Mapping[str, Any]], comparison: Comparison, metric: str = "accuracy"
) -> Section | None:
    """Accuracy against latency, of the points that have a latency."""
    known = [
        (str(p["name"]), float(p["accuracy"]), float(p["latency_ms"]))
        for p in points
        if p.get("latency_ms")
    ]
    if not known:
        return None
    budget_ms = None if comparison.budget is None else comparison.budget.model_ms
    title = f"{heading(metric)} against latency"
    return Section(
        title,
        "Higher and further left is better. Coloured points are the ones that no other beats in "
        "both.",
        charts.both(lambda width: charts.accuracy(known, budget_ms, width, title)),
    )


def tuning(history: History) -> Section:
    """The tuning curve, and the gain of each task."""
    more = len(history.tasks) - TASKS_SHOWN
    caption = "Tasks by their share of the time, µs of one call."
    if more > 0:
        caption += f" {more} smaller ones are not listed."
    table = Table(
        ("task", "uses", "trials", "failed", "first", "best", "gain"),
        [Row(task.name, _gain(task)) for task in history.tasks[:TASKS_SHOWN]],
        caption,
    )
    lead = (
        f"{history.trials} trials. The model's time as the sum of its tuned kernels' best times, "
        "from the trial at which each of them had one."
    )
    if len(history.curve) < 2:
        return Section("Tuning", lead, tables=[table])
    curve = charts.both(lambda width: charts.tuning(history.curve, width))
    return Section("Tuning", lead, curve, [table])


def _gain(task: TaskGain) -> list[Cell]:
    first, best = task.first_us, task.best_us
    return [
        Cell(str(task.weight)),
        Cell(str(task.trials)),
        Cell(str(task.failed)),
        Cell() if first is None else Cell(f"{first:.4g}"),
        Cell() if best is None else Cell(f"{best:.4g}"),
        Cell() if first is None or not best else Cell(f"{first / best:.1f}×"),
    ]


def kernels(profile: Sequence[Mapping[str, Any]]) -> Section | None:
    """The time of each kernel, the longest first; the smaller ones are summed up in one row."""
    ordered = sorted(profile, key=lambda item: -float(item["us"]))
    total = sum(float(item["us"]) for item in ordered)
    if not total:
        return None
    shown = [
        (str(item["kernel"]), str(item.get("calls", "")), float(item["us"]))
        for item in ordered[:KERNELS_SHOWN]
    ]
    rest = ordered[KERNELS_SHOWN:]
    if rest:
        calls = sum(int(item.get("calls") or 0) for item in rest)
        us = sum(float(item["us"]) for item in rest)
        shown.append((f"{len(rest)} smaller ones", str(calls), us))
    longest = max(us for _, _, us in shown)
    rows = [
        Row(
            name,
            [Cell(calls), Cell(f"{us:.4g}"), Cell(f"{us / total:.1%}"), Cell(share=us / longest)],
        )
        for name, calls, us in shown
    ]
    return Section(
        "Where the time goes",
        f"{len(ordered)} kernels, {total / 1e3:.3g} ms in all when each is timed on its own.",
        tables=[Table(("kernel", "calls", "µs", "share", ""), rows)],
    )
