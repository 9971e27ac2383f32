"""What a page shows over time: the last values of each board and model."""

from __future__ import annotations

from collections import deque

from tvmkd.deploy.monitoring.view import View

MINUTES = 10
MOST = 600  # values of a line

Line = list[tuple[float, float]]
"""Seconds since the epoch, and the value."""


class History:
    """Keeps temperatures and p99 of the last minutes."""

    def __init__(self) -> None:
        self._celsius: dict[str, deque[tuple[float, float]]] = {}
        self._p99: dict[str, deque[tuple[float, float]]] = {}

    def add(self, view: View) -> None:
        """Takes a view."""
        for board in view.boards:
            if board.state is not None and board.state.celsius is not None:
                _add(self._celsius, board.name, view.at, board.state.celsius)
        for model in view.models:
            # Without a rate it is the first reading, which tells of the time before.
            if model.p99_ms is not None and model.per_second is not None:
                name = f"{model.model} {model.version} at {model.server}"
                _add(self._p99, name, view.at, model.p99_ms)
        for lines in (self._celsius, self._p99):
            for name in [name for name, line in lines.items() if _old(line, view.at)]:
                del lines[name]

    def celsius(self) -> dict[str, Line]:
        """The hottest zone of each board."""
        return {name: list(line) for name, line in self._celsius.items()}

    def p99(self) -> dict[str, Line]:
        """p99 of each model, ms."""
        return {name: list(line) for name, line in self._p99.items()}


def _add(lines: dict[str, deque[tuple[float, float]]], name: str, at: float, value: float) -> None:
    line = lines.setdefault(name, deque(maxlen=MOST))
    line.append((at, value))
    while line and at - line[0][0] > 60 * MINUTES:
        line.popleft()


def _old(line: deque[tuple[float, float]], now: float) -> bool:
    return now - line[-1][0] > 60 * MINUTES
