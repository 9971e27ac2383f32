"""A fleet as one HTML page that asks for itself again every few seconds."""

from __future__ import annotations

import time

from tvmkd.base.version import __version__
from tvmkd.deploy.monitoring import cells
from tvmkd.deploy.monitoring.history import History, Line
from tvmkd.deploy.monitoring.view import View
from tvmkd.report import environment
from tvmkd.report.charts import WIDE, both
from tvmkd.report.svg import Canvas, Scale, number
from tvmkd.report.view import Cell, Row, Section, Table, Tile


def render(view: View, history: History, seconds: float) -> str:
    """The page as text; the browser loads it again after ``seconds``."""
    down = sum(row.status == "down" for row in view.boards if row.source != "server")
    down += sum(not row.model for row in view.models)
    unready = sum(bool(row.model) and not row.ready for row in view.models)
    sections = [
        _table("Boards", cells.BOARD_HEADS, [cells.board(row) for row in view.boards]),
        _table("Models", cells.MODEL_HEADS, [cells.model(row) for row in view.models]),
        _lines("Temperature", "The hottest zone of each board.", history.celsius(), "°C"),
        _lines("p99", "Of whole requests, over the last minute each.", history.p99(), "ms"),
    ]
    return environment.render(
        "fleet.html",
        title="Fleet",
        refresh=max(1, round(seconds)),
        emulated=any(row.emulated for row in view.boards),
        eyebrow=["tvmkd board top", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(view.at))],
        headline=_headline(view, down, unready),
        detail="",
        footer=f"tvmkd {__version__}",
        tiles=_tiles(view, down),
        notes=[],
        sections=[section for section in sections if section is not None],
    )


def _headline(view: View, down: int, unready: int) -> str:
    if not view.boards and not view.models:
        return "No board and no model"
    if down or unready:
        parts = [f"{down} down"] * bool(down) + [f"{unready} models not ready"] * bool(unready)
        return ", ".join(parts)
    models = sum(bool(row.model) for row in view.models)
    return f"{len(view.boards)} boards and {models} models are well"


def _tiles(view: View, down: int) -> list[Tile]:
    warm = [row.state.celsius for row in view.boards if row.state and row.state.celsius is not None]
    slow = [row.p99_ms for row in view.models if row.p99_ms is not None]
    throttled = sum(bool(row.state and row.state.throttled) for row in view.boards)
    misses = sum(row.new_misses for row in view.models)
    tiles = [Tile(str(down), "down", "bad" if down else "good")]
    if warm:
        tiles.append(Tile(f"{max(warm):.0f} °C", "the hottest board", "bad" if throttled else ""))
    if slow:
        tiles.append(Tile(f"{max(slow):.3g} ms", "the highest p99"))
    if view.models:
        tiles.append(Tile(str(misses), "deadlines missed in a minute", "bad" if misses else "good"))
    return tiles


def _table(title: str, heads: tuple[str, ...], rows: list[list[cells.Text]]) -> Section | None:
    if not rows:
        return None
    made = [Row(row[0].text, [_cell(cell) for cell in row[1:]]) for row in rows]
    reasons = sorted(
        {f"{_name(row)}: {cell.text}, {cell.why}" for row in rows for cell in row if cell.why}
    )
    return Section(title, "; ".join(reasons), tables=[Table(heads, made)])


def _cell(cell: cells.Text) -> Cell:
    return Cell("", pill=cell.text, mood="bad") if cell.bad else Cell(cell.text)


def _name(row: list[cells.Text]) -> str:
    """The first cell, or the server where no model is known."""
    return row[1].text if row[0].text == cells.NOTHING else row[0].text


def _lines(title: str, lead: str, lines: dict[str, Line], unit: str) -> Section | None:
    drawn = {name: line for name, line in lines.items() if len(line) > 1}
    if not drawn:
        return None
    return Section(title, lead, both(lambda width: chart(title, drawn, unit, width)))


def chart(title: str, lines: dict[str, Line], unit: str, width: int) -> Canvas:
    """A line for each name, over the last minutes."""
    left, right, top, bottom = 52, width - 14, 30, 200
    values = [value for line in lines.values() for _, value in line]
    times = [at for line in lines.values() for at, _ in line]
    last = max(times)
    x = Scale(min(min(times) - last, -1.0), 0.0, left, right)
    pad = max(0.1 * (max(values) - min(values)), 0.05 * max(values), 1e-3)
    y = Scale(max(0.0, min(values) - pad), max(values) + pad, bottom, top)
    told = "; ".join(f"{name}: {line[-1][1]:.3g} {unit}" for name, line in lines.items())
    canvas = Canvas(width, bottom + 42, title, told)
    for tick in x.ticks(8 if width == WIDE else 4):
        canvas.line(x(tick), top, x(tick), bottom, "grid")
        canvas.text(x(tick), bottom + 17, number(tick), "small", "middle")
    canvas.text(right, bottom + 35, "seconds", "small", "end")
    for tick in y.ticks(4):
        canvas.line(left, y(tick), right, y(tick), "grid")
        canvas.text(left - 8, y(tick) + 4, number(tick), "small", "end")
    canvas.text(0, top - 12, unit, "small")
    for place, (name, line) in enumerate(sorted(lines.items())):
        points = [(x(at - last), y(value)) for at, value in line]
        canvas.path(points, "curve" if place == 0 else "frontier", tip=name)
        canvas.text(points[-1][0], points[-1][1] - 6, name, "label small", "end")
    return canvas
