"""What is shown of a fleet, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tvmkd.boards.board_state import Telemetry


@dataclass(frozen=True)
class BoardRow:
    """A board, known by a tracker, over ssh, or by its inference server.

    Attributes:
        name: address, or destination of ssh.
        source: ``tracker KEY``, ``ssh`` or ``server``.
        status: ``free``, ``busy``, ``up`` or ``down``.
        why: of a board that is down.
        model: the board's name for itself, or its CPU.
        version: of the server that runs there.
        state: what it told last; None: nothing yet.
        age_s: how long ago that was.
        emulated: its times mean nothing.
    """

    name: str
    source: str
    status: str
    why: str = ""
    model: str | None = None
    version: str | None = None
    state: Telemetry | None = None
    age_s: float = 0.0
    emulated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        state = None if self.state is None else self.state.to_dict()
        return {**asdict(self), "state": state}


@dataclass(frozen=True)
class ModelRow:
    """A model on an inference server.

    Attributes:
        server: its URL.
        model, version: as the server names them; empty for a server that is down.
        ready: whether it accepts requests.
        per_second: requests; None before the second reading.
        p50_ms, p99_ms: of the whole request, of the last minute, or since the server's start at
            the first reading; None: there were none.
        misses, errors: since the server's start.
        new_misses, new_errors: of the last minute.
        queue: requests that wait.
        instances: that can compute.
        why: of a server that is down.
    """

    server: str
    model: str = ""
    version: str = ""
    ready: bool = False
    per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    misses: int = 0
    errors: int = 0
    new_misses: int = 0
    new_errors: int = 0
    queue: int = 0
    instances: int = 0
    why: str = ""


@dataclass(frozen=True)
class View:
    """A fleet at a time (seconds since the epoch)."""

    at: float
    boards: tuple[BoardRow, ...]
    models: tuple[ModelRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "at": self.at,
            "boards": [row.to_dict() for row in self.boards],
            "models": [asdict(row) for row in self.models],
        }
