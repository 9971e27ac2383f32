"""A fleet's rows as text, for the console and the page."""

from __future__ import annotations

from dataclasses import dataclass

from tvmkd.boards.board_state import Telemetry
from tvmkd.deploy.monitoring.view import BoardRow, ModelRow

NOTHING = "–"
OLD = 90.0  # seconds after which the age of a state is shown
BOARD_HEADS = (
    *("board", "status", "°C", "clock", "mode", "W", "load", "memory", "version", "machine"),
)
MODEL_HEADS = (
    *("model", "server", "status", "req/s", "p50", "p99", "misses", "errors", "queue"),
    *("instances",),
)


@dataclass(frozen=True)
class Text:
    """A cell.

    Attributes:
        text: the value.
        bad: sets it off in a colour.
        why: a reason, shown where there is room.
    """

    text: str = NOTHING
    bad: bool = False
    why: str = ""


def board(row: BoardRow) -> list[Text]:
    """The cells below `BOARD_HEADS`."""
    if row.status == "down":
        down = [Text(row.name), Text("down", True, row.why)]
        return down + [Text()] * (len(BOARD_HEADS) - len(down))
    status = row.status + (", EMULATED" if row.emulated else "")
    if row.age_s > OLD:
        status += f", {row.age_s:.0f} s ago"
    state = row.state or Telemetry()
    free = state.memory_available_bytes
    return [
        Text(row.name),
        Text(status),
        _heat(state),
        Text(_clock(state)),
        Text(state.power_mode or state.governor or NOTHING),
        Text(NOTHING if state.watts is None else f"{state.watts:.1f}"),
        Text(NOTHING if state.load_1min is None else f"{state.load_1min:.2f}"),
        Text(NOTHING if free is None else f"{free / 2**30:.1f} GiB free"),
        Text(row.version or NOTHING),
        Text(row.model or NOTHING),
    ]


def _heat(state: Telemetry) -> Text:
    celsius = NOTHING if state.celsius is None else f"{state.celsius:.0f}"
    if not state.throttled:
        return Text(celsius)
    return Text(f"{celsius} throttled", True, ", ".join(state.throttled_by or ()))


def _clock(state: Telemetry) -> str:
    """The slowest CPU's, of the highest limit."""
    if not state.clocks:
        return NOTHING
    now, most = (min(c.now for c in state.clocks), max(c.max for c in state.clocks))
    return f"{now / 1e6:.2f} of {most / 1e6:.2f} GHz"


def model(row: ModelRow) -> list[Text]:
    """The cells below `MODEL_HEADS`."""
    if not row.model:
        down = [Text(), Text(row.server), Text("down", True, row.why)]
        return down + [Text()] * (len(MODEL_HEADS) - len(down))
    named = f"{row.model} {row.version}".strip()
    return [
        Text(named),
        Text(row.server),
        Text("ready" if row.ready else "not ready", not row.ready),
        Text(NOTHING if row.per_second is None else f"{row.per_second:.1f}"),
        Text(_ms(row.p50_ms)),
        Text(_ms(row.p99_ms)),
        _counted(row.misses, row.new_misses),
        _counted(row.errors, row.new_errors),
        Text(str(row.queue)),
        Text(str(row.instances), not row.instances),
    ]


def _ms(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g} ms"


def _counted(total: int, new: int) -> Text:
    return Text(f"{total} (+{new})" if new else str(total), new > 0)
