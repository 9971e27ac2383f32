"""Which process runs a trial, and whether it still does.

Optuna watches over trials in databases only, and its journal has no heartbeat. Here each running
trial holds who runs it. On one machine that process is looked for; a process on another machine is
known by a number in the trial that it changes once a minute.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BEAT_SECONDS = 60.0
SILENT_SECONDS = 300.0
"""A process on another machine that has not been heard of for so long is dead."""
NAMELESS_SECONDS = 20.0
"""A trial that nobody has owned for so long lost its process at once."""


@dataclass(frozen=True)
class Owner:
    """A process, so that no other is taken for it.

    Attributes:
        host: the machine's name.
        boot: changes when the machine starts.
        space: the kernel's name of the space in which ``pid`` counts: containers have their own.
        pid: the process's id.
        started: when it started, in the kernel's clock: ids are given again.
    """

    host: str
    boot: str
    space: str
    pid: int
    started: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def this_process() -> Owner:
    """The process that runs."""
    pid = os.getpid()
    return Owner(platform.node(), _boot(), _space(), pid, _started(pid) or "")


def alive(owner: Any) -> bool | None:
    """Whether a trial's process still runs; None: that cannot be seen from here.

    Args:
        owner: an `Owner` as plain data. A trial that has none has just begun, or its process ended
            just then.
    """
    here = this_process().to_dict()
    if not isinstance(owner, dict) or owner.keys() != here.keys():
        return None
    if any(owner[key] != here[key] for key in ("host", "boot", "space")):
        return None
    return bool(owner["started"] == _started(owner["pid"]))


class Listener:
    """Notes when the numbers of trials on other machines change, by this machine's clock.

    Args:
        clock: in seconds, steady.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[int, tuple[Any, float]] = {}

    def silent(self, trial: int, beat: Any, seconds: float = SILENT_SECONDS) -> bool:
        """Whether a trial's number has not changed in so many seconds of listening."""
        now = self._clock()
        before, since = self._heard.get(trial, (None, now))
        if before != beat or trial not in self._heard:
            since = now
        self._heard[trial] = (beat, since)
        return now - since > seconds


@contextmanager
def beating(beat: Callable[[int], object], seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Calls ``beat`` with 1, 2, 3... once in so many seconds, until the block ends.

    What it raises is left alone: the block meets the same trouble itself.
    """
    done = threading.Event()

    def run() -> None:
        number = 0
        while not done.wait(seconds):
            number += 1
            with suppress(Exception):
                beat(number)

    thread = threading.Thread(target=run, name="search heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _started(pid: int) -> str | None:
    """When a process started; None if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None if Path("/proc/self").exists() else _started_by_psutil(pid)
    except OSError:
        return None
    # The name is in parentheses and may hold anything; the state and 18 numbers follow.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _started_by_psutil(pid: int) -> str | None:
    import psutil

    try:
        return str(round(psutil.Process(pid).create_time()))
    except psutil.Error:
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
