"""The page of a suite, in one file: networks by engines, what they cost, and what is not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from markupsafe import Markup

from tvmkd.base.files import write_text
from tvmkd.bench.schema import Comparison, Engine
from tvmkd.bench.table import half_width, machine, milliseconds, seconds, size
from tvmkd.report import charts, environment
from tvmkd.report import page as report_page
from tvmkd.report.svg import Canvas, Scale, number
from tvmkd.report.view import NOTHING, Cell, Note, Row, Section, Table, Tile
from tvmkd.suites import figures
from tvmkd.suites.figures import Compared
from tvmkd.suites.result import Result

FILE = "index.html"
MOST_RATIO = 30.0
"""Where the axis of the chart ends at the latest; slower engines are drawn at its end."""


def write(result: Result, folder: Path) -> Path:
    """Writes the page of a result into its folder.

    Raises:
        InputError: a comparison cannot be read, or the page cannot be written.
    """
    path = folder / FILE
    write_text(path, render(result, folder))
    return path


def render(result: Result, folder: Path) -> str:
    """The page as text."""
    compared = _compared(result, folder)
    names = figures.engines(compared)
    device = result.device.upper()
    done, count = result.count("done"), len(result.networks)
    where = [machine(compared[0][1])] if compared else []
    return environment.render(
        "report.html",
        title=f"{result.suite}: {done} of {count} networks on the {device}",
        emulated=False,
        eyebrow=[f"suite {result.suite}", *where],
        headline=_headline(result, compared, names),
        detail=result.description,
        footer=f"{result.tool} · {result.created}",
        tiles=_tiles(result, compared, names),
        notes=notes(result, folder),
        sections=sections(result, folder),
    )


def sections(result: Result, folder: Path) -> list[Section]:
    """The page's parts with charts and tables."""
    compared = _compared(result, folder)
    names = figures.engines(compared)
    parts = [_times(compared, names), _means(compared, names), _costs(compared, names)]
    return [part for part in parts if part is not None] + _method(result, compared)


def _compared(result: Result, folder: Path) -> Compared:
    return [(entry.name, found) for entry, found in result.comparisons(folder)]


def _headline(result: Result, compared: Compared, names: Sequence[str]) -> str:
    if not names:
        return f"No network of {result.suite} was compared"
    count = f"{len(compared)} networks" if len(compared) > 1 else "1 network"
    if len(names) == 1:
        return f"{names[0]} alone, on {count}"
    best = max(names, key=lambda name: figures.mean_ratio(compared, name).fastest)
    first = figures.mean_ratio(compared, best).fastest
    return f"{best} is the fastest, or level with it, on {first} of {count}"


def _tiles(result: Result, compared: Compared, names: Sequence[str]) -> list[Tile]:
    tiles = [Tile(f"{result.count('done')}/{len(result.networks)}", "networks compared")]
    if result.count("failed"):
        tiles.append(Tile(str(result.count("failed")), "networks failed", "bad"))
    for name in names[:3]:
        mean = figures.mean_ratio(compared, name)
        tiles.append(
            Tile(f"{mean.ratio:.2f}×", f"{name}: the fastest's time, mean of {mean.networks}")
        )
    return tiles


def notes(result: Result, folder: Path) -> list[Note]:
    """What a reader must know, and what was left out; what holds for several networks once."""
    compared = _compared(result, folder)
    found = [
        Note(
            f"{'failed' if entry.state == 'failed' else 'was left out'}: {entry.reason}", entry.name
        )
        for entry in result.networks
        if entry.state != "done"
    ]
    for what in (_left_out, _warned):
        told: dict[tuple[str, str], list[str]] = {}
        for name, comparison in compared:
            for key in what(comparison):
                told.setdefault(key, []).append(name)
        found += [
            Note(f"{text} ({_named(networks, len(compared))})", subject)
            for (subject, text), networks in told.items()
        ]
    return found


def _left_out(comparison: Comparison) -> list[tuple[str, str]]:
    return [
        (each.name, f"was left out ({each.why}): {each.reason}") for each in comparison.left_out
    ]


def _warned(comparison: Comparison) -> list[tuple[str, str]]:
    return [("", text) for text in comparison.warnings]


def _named(networks: Sequence[str], count: int) -> str:
    return "all networks" if len(networks) == count > 1 else ", ".join(networks)


def _times(compared: Compared, names: Sequence[str]) -> Section | None:
    if not compared:
        return None
    rows = [
        Row(name, [_time(comparison, engine) for engine in names]) for name, comparison in compared
    ]
    table = Table(
        ("network", *names),
        rows,
        "Median of one call in ms, and how many times the fastest engine's that is. On hover: the "
        "95 % interval, p99 and the number of calls.",
    )
    return Section(
        "Time for one call",
        "Each network on its own line; the fastest engine is at 1. Level: the difference is within "
        "noise, or below 3 %. Unclear: too few calls tell it from the fastest.",
        charts.both(lambda width: chart(compared, names, width)) if len(names) > 1 else Markup(),
        [table],
    )


def _time(comparison: Comparison, name: str) -> Cell:
    engine = comparison.engine(name)
    if engine is None:
        why = next((each.reason for each in comparison.left_out if each.name == name), "")
        return Cell(NOTHING, why)
    share = figures.ratio(comparison, engine)
    tip = (
        f"± {milliseconds(half_width(engine))} ms, p99 {milliseconds(engine.p99)} ms, "
        f"{len(engine.samples_ms)} calls"
    )
    text = milliseconds(engine.p50) + ("" if share == 1.0 else f" ({share:.2f}×)")
    standing = figures.standing(comparison, name)
    if standing == "behind":
        return Cell(text, tip)
    return Cell(text, tip, standing, "" if standing == "unclear" else "good")


def _means(compared: Compared, names: Sequence[str]) -> Section | None:
    if len(names) < 2:
        return None
    rows = []
    for name in names:
        mean = figures.mean_ratio(compared, name)
        cells = [Cell(f"{mean.ratio:.2f}"), Cell(str(mean.networks)), Cell(str(mean.fastest))]
        rows.append(Row(name, cells, first=name == names[0]))
    return Section(
        "Over all networks",
        "The geometric mean of an engine's time over that of each network's fastest engine. Means "
        "over different networks cannot be compared.",
        tables=[Table(("engine", "mean ratio", "networks", "fastest or level on"), rows)],
    )


def _costs(compared: Compared, names: Sequence[str]) -> Section | None:
    if not compared:
        return None
    tables = [
        _table(
            compared,
            names,
            "Seconds to build the engine or the artifact, or to load it where "
            "nothing is built beforehand.",
            _build_seconds,
        ),
        _table(compared, names, "Size of what has to be shipped.", lambda e: size(e.size_bytes)),
        _table(
            compared, names, "GPU memory that the engine holds.", lambda e: size(e.gpu_memory_bytes)
        ),
        _table(
            compared,
            names,
            "Largest difference from ONNX Runtime in FP32, as a share of the output's range.",
            lambda e: f"{e.relative_error:.1e}",
        ),
    ]
    return Section(
        "What it costs, and how exact it is",
        tables=[table.without_empty_columns() for table in tables if _has_values(table)],
    )


def _table(
    compared: Compared, names: Sequence[str], caption: str, text: Callable[[Engine], str]
) -> Table:
    rows = []
    for network, comparison in compared:
        engines = [comparison.engine(name) for name in names]
        rows.append(Row(network, [Cell() if e is None else Cell(text(e)) for e in engines]))
    return Table(("network", *names), rows, caption)


def _has_values(table: Table) -> bool:
    return any(cell != Cell() for row in table.rows for cell in row.cells)


def _build_seconds(engine: Engine) -> str:
    return seconds(engine.build_seconds if engine.engine_seconds is None else engine.engine_seconds)


def _method(result: Result, compared: Compared) -> list[Section]:
    if not compared:
        return []
    first = compared[0][1]
    facts = dict(report_page.method(first, {}).facts)
    for name in ("Model", "Input", "Measured"):
        facts.pop(name, None)
    took = [entry.seconds for entry in result.networks if entry.state == "done"]
    facts = {
        "Suite": f"{result.suite}: {', '.join(entry.name for entry in result.networks)}",
        "A network took": f"{median(took):.0f} s (median), builds included",
        **facts,
    }
    return [
        Section(
            "How this was measured",
            "The method is that of tvmkd compare, network by network; machine and versions are "
            "those of the first one.",
            facts=facts,
        )
    ]


def chart(compared: Compared, names: Sequence[str], width: int) -> Canvas:
    """A line a network, a dot an engine: its time over the fastest one's, logarithmic."""
    shares = {
        network: {engine.name: figures.ratio(comparison, engine) for engine in comparison.engines}
        for network, comparison in compared
    }
    most = max(share for each in shares.values() for share in each.values())
    high = min(max(1.5, 1.1 * most), MOST_RATIO)
    wide = width == charts.WIDE
    left, top, row = (170, 12, 30) if wide else (0, 12, 46)
    right, bottom = width - 20, top + row * len(compared)
    told = "; ".join(
        f"{network}: " + ", ".join(f"{name} {share:.2f}" for name, share in each.items())
        for network, each in shares.items()
    )
    canvas = Canvas(width, bottom + 42 + 20 * len(names), "Time over the fastest engine's", told)
    scale = Scale(1.0, high, left, right, log=True)
    for tick in scale.ticks(8 if wide else 4):
        canvas.line(scale(tick), top - 4, scale(tick), bottom, "grid")
        canvas.text(scale(tick), bottom + 17, f"{number(tick)}×", "small", "middle")
    for index, (network, each) in enumerate(shares.items()):
        y = top + row * index + (row / 2 if wide else 32)
        if wide:
            canvas.text(left - 12, y + 4, network, "strong", "end")
        else:
            canvas.text(0, y - 14, network, "strong")
        canvas.line(left, y, right, y, "grid")
        for name, share in each.items():
            css = _css(names.index(name))
            canvas.circle(scale(share), y, 6, f"dot {css}", f"{network}, {name}: {share:.2f}×")
    for index, name in enumerate(names):
        y = bottom + 42 + 20 * index
        canvas.circle(left + 8, y, 6, f"dot {_css(index)}")
        canvas.text(left + 22, y + 4, name)
    return canvas


def _css(index: int) -> str:
    return f"engine-{index % 10}"
