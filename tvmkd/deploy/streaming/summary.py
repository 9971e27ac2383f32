"""The result of a stream for the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvmkd.deploy.streaming.result import Spread, StreamResult

if TYPE_CHECKING:
    from rich.table import Table

TIMES = ("p50", "p95", "p99", "worst")


def table(result: StreamResult) -> Table:
    """Each stage against the budget, in milliseconds."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False)
    made.add_column("ms a frame")
    for head in (*TIMES, "of the budget"):
        made.add_column(head, justify="right")
    budget, model_ms = result.settings.budget_ms, result.settings.model_ms
    for stage in result.stages:
        limit = model_ms if stage.name == "model" and model_ms is not None else budget
        made.add_row(*_row(stage.name, stage.ms), share(stage.ms.p99, limit))
    made.add_row(*_row("release to end", result.latency), share(result.latency.worst, budget))
    made.add_row(*_row("release jitter", result.release_jitter), "")
    made.add_row(*_row("end jitter", result.finish_jitter), "")
    return made


def _row(name: str, spread: Spread) -> list[str]:
    return [name, *(f"{getattr(spread, figure):.3f}" for figure in TIMES)]


def share(ms: float, limit: float) -> str:
    """``12% of 30 ms``."""
    return f"{ms / limit:.0%} of {limit:.4g} ms"


def verdict(result: StreamResult) -> str:
    """One sentence on the deadlines."""
    budget = f"{result.settings.budget_ms:.4g} ms"
    if not result.misses:
        return (
            f"all {result.released} frames were done in {budget}: the worst took "
            f"{result.latency.worst:.3g} ms"
        )
    return (
        f"{result.misses} of {result.released} frames MISSED {budget}: {result.late} were late, "
        f"{result.dropped} were dropped; the worst took {result.latency.worst:.3g} ms"
    )


def lines(result: StreamResult) -> list[str]:
    """What the table does not say."""
    settings = result.settings
    early = ", ended early" if result.interrupted else ""
    pace = f"{result.processed} frames at {settings.fps:g} a second for {result.seconds:.1f} s"
    found = [f"{pace}{early}; {settings.source}", verdict(result)]
    for number, model in enumerate(result.models):
        parts = [f"{model.frames} frames"]
        if len(model.exits) > 1:
            parts += [f"{count} left at exit {place}" for place, count in enumerate(model.exits)]
        if len(result.models) > 1 or len(model.exits) > 1:
            found.append(f"model {number} ({model.name}): {', '.join(parts)}")
    found += [
        f"at {change.second:.1f} s from model {change.before} to {change.after}: {change.why}"
        for change in result.changes
    ]
    return [*found, *board_lines(result)]


def board_lines(result: StreamResult) -> list[str]:
    """Temperature and throttling, as far as the board tells."""
    found = []
    warmth = result.celsius()
    if warmth is not None:
        found.append(f"{warmth[0]:.1f} to {warmth[1]:.1f} °C")
    if result.throttled is not None:
        count = sum(bool(state.throttled) for state in result.states)
        told = f"THROTTLED at {count} of {len(result.states)} readings"
        found.append(told if count else "never throttled")
    watts = [state.watts for state in result.states if state.watts is not None]
    if watts:
        found.append(f"{min(watts):.1f} to {max(watts):.1f} W")
    return [", ".join(found)] if found else ["the board tells no temperature and no throttling"]
