"""AutoScheduler's log as plain JSON: one line a trial, ``{"i": [task, steps], "r": [...], "v"}``.

``i[0]`` is ``[workload key, target, ...]``, ``i[1]`` the steps of the schedule, and ``r`` is
``[seconds, error number, seconds in all, time]``. The workload key is a JSON list of the hash of
the task's computation and the shapes that go with it; the computation itself is not in the log, it
comes with the model. Upstream's ``RecordReader`` and ``ApplyHistoryBest`` read the file.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

LOG = "autoscheduler.json"


def task_key(workload_key: str) -> str:
    """The key of a task, ``0x`` and 16 hex digits, from AutoScheduler's workload key."""
    return f"0x{hashlib.sha256(workload_key.encode()).hexdigest()[:16]}"


def candidate_key(steps: Any) -> str:
    """The key of a candidate, 20 hex digits, from the steps as they stand in the log."""
    text = json.dumps(steps, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def read(line: Any) -> tuple[str, str, str, float | None]:
    """A line's workload key, task key, candidate key, and seconds (None: it failed).

    Raises:
        ValueError, TypeError, IndexError, KeyError: it is no line of such a log.
    """
    (workload, *_), (_, steps, *_) = line["i"][0], line["i"][1]
    if not isinstance(workload, str):
        raise TypeError("the workload key is no text")
    seconds, failed = line["r"][0], line["r"][1]
    mean = None if failed or not seconds else sum(seconds) / len(seconds)
    return workload, task_key(workload), candidate_key(steps), mean
