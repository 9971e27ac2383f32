"""The inventory: every board at a tracker, and the facts of each free one."""

from __future__ import annotations

import sys
from typing import Any

from tvmkd.base.errors import TvmkdError, WorkerTimeout
from tvmkd.base.wire import Child
from tvmkd.boards.connect import SILENT, boards, summary

ANSWER_SECONDS = 15.0


def call(
    host: str, port: int, *, only: str | None = None, ask: bool = True
) -> list[dict[str, Any]]:
    """The keys at a tracker with their boards.

    Args:
        only: this key alone.
        ask: open a session at each free board and ask for its facts.

    Returns:
        for each key ``key``, ``free``, ``total``, ``waiting`` (clients), and ``boards``: ``host``,
        ``port`` and, of those that were free, ``facts`` (``{"error"}`` where one does not answer).

    Raises:
        MissingError: no tracker.
    """
    queues = summary(host, port).get("queue_info", {})
    found: dict[str, dict[str, Any]] = {}
    for board in boards(host, port):
        if only is not None and board["key"] != only:
            continue
        queue = queues.get(board["key"], {})
        entry = found.setdefault(
            board["key"],
            {
                "key": board["key"],
                "free": int(queue.get("free", 0)),
                "total": 0,
                "waiting": int(queue.get("pending", 0)),
                "boards": [],
            },
        )
        entry["total"] += 1
        entry["boards"].append({"host": board["host"], "port": board["port"]})
    if ask:
        for entry in found.values():
            _ask(host, port, entry)
    return list(found.values())


def _ask(host: str, port: int, entry: dict[str, Any]) -> None:
    """Asks as many boards as were free. All sessions stay open to the end: the tracker would
    assign a board that is freed early a second time."""
    params = {"host": host, "port": port, "key": entry["key"], "timeout": 3.0}
    held: list[Child] = []
    try:
        for _ in range(entry["free"]):
            held.append(Child([sys.executable, "-m", "tvmkd.boards.remote"]))
            named: list[str] = []
            try:
                facts = held[-1].call(
                    "connect",
                    params,
                    timeout=ANSWER_SECONDS,
                    on_event=lambda _, data, named=named: named.append(data["board"]),  # type: ignore[misc]
                )
            except TvmkdError as error:
                if not named:  # another client took the board
                    break
                facts = {"error": SILENT if isinstance(error, WorkerTimeout) else str(error)}
            address = named[0] if named else facts["board"]
            for board in entry["boards"]:
                if f"{board['host']}:{board['port']}" == address:
                    board["facts"] = facts
    finally:
        for child in held:
            child.close(grace=0.2)
