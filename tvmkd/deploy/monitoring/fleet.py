"""Asks all boards and servers of a fleet, side by side, and remembers what they told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from tvmkd.base.errors import MissingError
from tvmkd.boards import inventory
from tvmkd.boards.board_state import Telemetry
from tvmkd.deploy.monitoring import over_ssh
from tvmkd.deploy.monitoring.scrape import Server
from tvmkd.deploy.monitoring.servers import WatchedServer
from tvmkd.deploy.monitoring.view import BoardRow, View

MOST_AT_ONCE = 16
Asked = Callable[[], list[BoardRow]]


@dataclass
class Fleet:
    """Boards and servers that are watched. Use as a context manager.

    Args:
        servers: inference servers.
        tracker: ``(host, port)`` of TVM's tracker; None: none.
        key: only the boards under this key.
        destinations: boards to ask over ssh.
        board_seconds: time between two questions to a board. A tracker's board is asked in a
            session, for which a process is started here, and which no tuning can use meanwhile.
    """

    servers: Sequence[Server] = ()
    tracker: tuple[str, int] | None = None
    key: str | None = None
    destinations: Sequence[str] = ()
    board_seconds: float = 30.0
    _known: dict[str, tuple[float, BoardRow]] = field(default_factory=dict)
    _next: float = 0.0

    def __enter__(self) -> Fleet:
        self._watched = [WatchedServer(server) for server in self.servers]
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="tvmkd-top")
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def look(self) -> View:
        """Asks the servers, and the boards where their time has come.

        Raises:
            MissingError: prometheus_client or ssh is not installed.
            UsageError: a destination of ssh is none.
        """
        looks = [self._pool.submit(watched.look) for watched in self._watched]
        if time.monotonic() >= self._next:
            self._ask()
            self._next = time.monotonic() + self.board_seconds
        for each in looks:
            each.result()
        now = time.monotonic()
        boards = [replace(row, age_s=round(now - at, 1)) for at, row in self._known.values()]
        boards += [watched.board() for watched in self._watched]
        models = [row for watched in self._watched for row in watched.models()]
        return View(time.time(), tuple(boards), tuple(models))

    def _ask(self) -> None:
        asked: list[Asked] = [
            (lambda destination=destination: [_over_ssh(destination)])  # type: ignore[misc]
            for destination in self.destinations
        ]
        if self.tracker is not None:
            asked.append(self._at_tracker)
        answers = [row for rows in self._pool.map(_call, asked) for row in rows]
        self._remember(answers)

    def _at_tracker(self) -> list[BoardRow]:
        assert self.tracker is not None
        host, port = self.tracker
        try:
            keys = inventory.call(host, port, only=self.key)
        except MissingError as error:
            return [BoardRow(f"{host}:{port}", "tracker", "down", str(error).partition(";")[0])]
        return [_of_tracker(entry["key"], board) for entry in keys for board in entry["boards"]]

    def _remember(self, rows: Iterable[BoardRow]) -> None:
        """Keeps the last state of a board that is busy; one that is gone is forgotten."""
        now, before = time.monotonic(), self._known
        self._known = {}
        for row in rows:
            place = f"{row.source} {row.name}"
            if row.status == "busy" and place in before:
                at, known = before[place]
                self._known[place] = (at, replace(known, status="busy"))
            else:
                self._known[place] = (now, row)


def _call(asked: Asked) -> list[BoardRow]:
    return asked()


def _over_ssh(destination: str) -> BoardRow:
    try:
        facts = over_ssh.ask(destination)
    except over_ssh.Unanswered as error:
        return BoardRow(destination, "ssh", "down", str(error))
    return _told(destination, "ssh", "up", facts)


def _of_tracker(key: str, board: dict[str, Any]) -> BoardRow:
    name, source = f"{board['host']}:{board['port']}", f"tracker {key}"
    facts = board.get("facts")
    if facts is None:
        return BoardRow(name, source, "busy")
    if "error" in facts:
        return BoardRow(name, source, "down", str(facts["error"]))
    return _told(name, source, "free", facts)


def _told(name: str, source: str, status: str, facts: dict[str, Any]) -> BoardRow:
    named = facts.get("model") or facts.get("cpu")
    server = str(facts.get("server") or "")
    return BoardRow(
        name,
        source,
        status,
        model=None if named is None else str(named),
        version=server.rpartition(" ")[2] or None,
        state=Telemetry.from_dict(facts),
        emulated=bool(facts.get("emulated")),
    )
