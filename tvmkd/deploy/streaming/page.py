"""The result of a stream as one HTML page: was it on time, where the time goes, heat."""

from __future__ import annotations

from tvmkd.deploy.streaming import charts, summary
from tvmkd.deploy.streaming.result import Spread, StreamResult
from tvmkd.report import environment
from tvmkd.report.charts import both
from tvmkd.report.view import NOTHING, Cell, Mood, Note, Row, Section, Table, Tile

HEADS = ("ms a frame", "median", "p90", "p95", "p99", "p99.9", "worst", "p99 of the budget")
FIGURES = ("p50", "p90", "p95", "p99", "p999", "worst")


def render(result: StreamResult) -> str:
    """The page as text."""
    name = result.models[0].name
    sections = [
        _over_time(result),
        _stages(result),
        _heat(result),
        _ladder(result),
        _method(result),
    ]
    missed = result.misses
    return environment.render(
        "report.html",
        title=f"{name} at {result.settings.fps:g} frames a second",
        emulated=False,
        eyebrow=[name, f"{result.settings.fps:g} frames a second", str(result.machine["cpu"])],
        headline=(
            f"{name}: on time, {result.released} of {result.released} frames"
            if not missed
            else f"{name}: {missed} of {result.released} frames missed their deadline"
        ),
        detail=summary.verdict(result) + ".",
        footer=f"{result.tool} · {result.created}",
        tiles=_tiles(result),
        notes=_notes(result),
        sections=[part for part in sections if part is not None],
    )


def _tiles(result: StreamResult) -> list[Tile]:
    budget, latency = result.settings.budget_ms, result.latency
    mood: Mood = "good" if latency.worst <= budget else "bad"
    found = [
        Tile(f"{latency.worst:.3g} ms", f"the worst frame, of a budget of {budget:.4g} ms", mood),
        Tile(str(result.misses), "deadlines missed", "bad" if result.misses else "good"),
        Tile(f"{latency.p50:.3g} ms", "median, release to end"),
        Tile(f"{result.release_jitter.p99:.3g} ms", "release jitter, p99"),
    ]
    warmth = result.celsius()
    if warmth is not None:
        found.append(
            Tile(
                f"{warmth[1]:.0f} °C",
                "hottest, throttled" if result.throttled else "hottest",
                "bad" if result.throttled else "",
            )
        )
    return found


def _notes(result: StreamResult) -> list[Note]:
    found = []
    settings = result.settings
    if result.interrupted:
        found.append(
            Note(f"the stream was ended after {result.seconds:.0f} of {settings.seconds:g} s")
        )
    if settings.source.startswith("random"):
        found.append(
            Note(
                "the frames are random pixels: a detector's post-processing depends on the picture"
            )
        )
    if settings.priority is None:
        found.append(
            Note(
                "no real-time priority: any other process may delay a frame "
                "(--priority fifo:50 --mlock)"
            )
        )
    if result.celsius() is None and result.throttled is None:
        found.append(Note("this machine tells no temperature and no throttling"))
    if any("assumed" in model.steps for model in result.models):
        found.append(
            Note("the model's file does not say how pictures are scaled: 0 to 1 was assumed")
        )
    return found


def _over_time(result: StreamResult) -> Section:
    return Section(
        "Latency over time",
        "From a frame's release to its end, the worst and the median of each part of the stream. "
        "A mark below the axis is a part in which frames were dropped.",
        both(lambda width: charts.over_time(result, width)),
    )


def _stages(result: StreamResult) -> Section:
    budget, model_ms = result.settings.budget_ms, result.settings.model_ms
    rows = []
    for stage in result.stages:
        limit = model_ms if stage.name == "model" and model_ms is not None else budget
        rows.append(Row(stage.name, _cells(stage.ms, limit)))
    rows.append(Row("release to end", _cells(result.latency, budget), first=True))
    rows.append(Row("release jitter", _cells(result.release_jitter, None)))
    rows.append(Row("end jitter", _cells(result.finish_jitter, None)))
    return Section(
        "Where the time goes",
        "Each step of a frame, logarithmic. Release jitter is the time from a frame's release to "
        "the start of its first step; end jitter is by how much the time between two ends differs "
        "from that between their releases.",
        both(lambda width: charts.histograms(result, width)),
        [Table(HEADS, rows)],
    )


def _cells(spread: Spread, limit: float | None) -> list[Cell]:
    cells = [Cell(f"{getattr(spread, figure):.3f}") for figure in FIGURES]
    if limit is None:
        return [*cells, Cell()]
    over = spread.p99 > limit
    pill = "over" if over else ""
    return [*cells, Cell(summary.share(spread.p99, limit), pill=pill, mood="bad" if over else "")]


def _heat(result: StreamResult) -> Section | None:
    if result.celsius() is None and not any(state.mhz for state in result.states):
        return None
    return Section(
        "Temperature and clocks",
        "; ".join(summary.board_lines(result)) + ". A dark mark is a reading at which the board "
        "throttled.",
        both(lambda width: charts.heat(result, width)),
    )


def _ladder(result: StreamResult) -> Section | None:
    exits = any(len(model.exits) > 1 for model in result.models)
    if len(result.models) == 1 and not exits:
        return None
    models = Table(
        ("model", "frames", "reference, ms", "exits"),
        [
            Row(
                f"{number}: {model.name}",
                [
                    Cell(str(model.frames)),
                    Cell(f"{model.reference_ms:.3g}"),
                    Cell(", ".join(map(str, model.exits)) if len(model.exits) > 1 else NOTHING),
                ],
            )
            for number, model in enumerate(result.models)
        ],
        "The reference is a frame's median before the stream. Exits: frames that left at each.",
    )
    tables = [models.without_empty_columns()]
    if result.changes:
        rows = [
            Row(
                f"{change.second:.1f} s",
                [Cell(f"{change.before} → {change.after}"), Cell(change.why)],
            )
            for change in result.changes
        ]
        tables.append(Table(("at", "model", "why"), rows))
    return Section("What was done when late", _policy(result), tables=tables)


def _policy(result: StreamResult) -> str:
    return {
        "drop": "Frames are dropped: the newest one is always next.",
        "exit": "An earlier exit is taken where the next part would not be done in time, and "
        "frames are dropped.",
        "ladder": "A smaller model takes over when frames are late or the board is hot, and the "
        "larger one comes back once there is time and the board is cool.",
    }[result.settings.when_late]


def _method(result: StreamResult) -> Section:
    settings, model = result.settings, result.models[0]
    cpus = ", ".join(map(str, settings.cpus))
    facts = {
        "Model": f"{model.name}, SHA-256 {model.sha256[:16]}…, {model.runtime}",
        "Steps": model.steps,
        "Frames": settings.source,
        "Schedule": f"absolute times {1000 / settings.fps:.4g} ms apart, for {result.seconds:g} s",
        "When late": settings.when_late,
        "CPUs": f"pinned to {cpus}" if cpus else "not pinned",
        "Threads": str(settings.threads or "the runtime decides"),
        "Priority": settings.priority or "that of other processes",
        "Memory": "locked" if settings.locked_memory else "not locked",
        "Power mode": settings.power or "not changed",
        "Machine": f"{result.machine['cpu']} ({result.machine['machine']}, "
        f"{result.machine['cpus']} CPUs), {result.machine['system']}, governor "
        f"{result.machine['governor'] or 'not visible'}",
        "Measured": f"{result.created} by {result.tool}",
    }
    return Section("How this was measured", facts=facts)
