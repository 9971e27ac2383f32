"""Several workers of one study on this machine, each a process.

Workers on other machines are other calls of the same command with the same storage: they know of
each other by the study alone.
"""

from __future__ import annotations

import queue
import sys
import threading
from typing import Any

from tvmkd.base import machine, wire
from tvmkd.base.errors import TvmkdError, WorkerDied
from tvmkd.base.wire import Event
from tvmkd.search.study.bench import Plan

END = "end"
"""The last event of a worker: ``worker``, and the ``error`` that ended it, or None."""
STARTS = 3
"""How often a worker's process is started: a network may need more memory than there is."""
PROCESS = "tvmkd.search.study.worker_process"
"""The module that is run as a worker's process."""
CLOSING_SECONDS = 30.0
"""Time for a worker to hand its trial back when the search is interrupted."""


class Workers:
    """The processes. Use as a context manager; leaving it ends them.

    Args:
        plan: of the search.
        count: how many.
    """

    def __init__(self, plan: Plan, count: int) -> None:
        self._plan, self._count = plan, count
        self._events: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self._children: dict[int, wire.Child] = {}
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.interrupt()
        for thread in self._threads:
            thread.join(CLOSING_SECONDS)
        for child in self._children.values():
            child.close()

    def run(self, event: Event) -> None:
        """Lets all workers work, and returns when the last one is done.

        Args:
            event: gets their events, in this thread.

        Raises:
            TvmkdError: the first error of a worker, when no other goes on.
            WorkerDied: all their processes died.
        """
        starts = dict.fromkeys(range(self._count), 0)
        errors: list[TvmkdError] = []
        for number in starts:
            self._start(number)
        running = set(starts)
        while running:
            name, data = self._events.get()
            if name != END:
                event(name, data)
                continue
            number, error = data["worker"], data["error"]
            starts[number] += 1
            if isinstance(error, WorkerDied) and starts[number] < STARTS:
                event(
                    "note", {"text": f"warning: worker {number + 1}: {error}; it is started again"}
                )
                self._children.pop(number).close()
                self._start(number)
                continue
            running.discard(number)
            if error is not None:
                if running:
                    event("note", {"text": f"warning: worker {number + 1} has ended: {error}"})
                errors.append(error)
        if len(errors) == self._count:
            raise errors[0]

    def _start(self, number: int) -> None:
        # In this thread, with whose end the kernel ends the process.
        threads = str(max(1, machine.physical_cores() // self._count))
        argv = [sys.executable, "-m", PROCESS]
        # The paths of this process: what it could import, a user's code may be among.
        path = {"PYTHONPATH": ":".join(part for part in sys.path if part)}
        child = wire.Child(argv, {"OMP_NUM_THREADS": threads, **path})
        self._children[number] = child
        thread = threading.Thread(
            target=self._follow, args=(number, child), name=f"worker {number}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _follow(self, number: int, child: wire.Child) -> None:
        def put(name: str, data: dict[str, Any]) -> None:
            self._events.put((name, data))

        error: BaseException | None = None
        try:
            child.call("work", {"plan": self._plan.to_dict(), "worker": number}, on_event=put)
        except (TvmkdError, KeyboardInterrupt) as stopped:
            error = stopped
        put(END, {"worker": number, "error": error})
