"""A study's journal file: checked line by line and mended before Optuna reads it.

Optuna ignores a last line without its end, as a process leaves it that was killed while it wrote;
but the next line is then written right behind it, and the file is lost for every reader.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import console
from tvmkd.base.errors import InputError, unwritable

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

NAME = "study.journal"
STALE_SECONDS = 10
"""A lock that lies there this long, while the file does not change, was left by a dead process: it
is held for one line, some milliseconds."""


def open_journal(path: Path) -> BaseStorage:
    """Optuna's journal storage on a file, which is made where it is missing.

    Raises:
        InputError: the file cannot be read or written, or a line is damaged (says which).
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    path = Path(os.path.abspath(path))  # the lock is a link to it
    lock = JournalFileSymlinkLock(str(path), grace_period=STALE_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
        _drop_torn_line(path, lock)
        check(path)
    except OSError as error:
        raise unwritable(error, path) from None
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        # Lines that are JSON and of the right kind, but say what cannot be.
        raise InputError(
            f"{path}: is no journal of a study ({type(error).__name__}: {error}); {_REMEDY}"
        ) from None


def check(path: Path) -> None:
    """Checks that each line is an operation of Optuna's journal.

    Raises:
        InputError: names the first line that is not.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found: Any = json.loads(line)
                damaged = not isinstance(found, dict) or not isinstance(found["op_code"], int)
            except (ValueError, KeyError):
                damaged = True
            # The last line may be one that another process is writing.
            if damaged and line.endswith(b"\n"):
                raise InputError(f"{path}: line {number} is damaged; {_REMEDY}")


_REMEDY = (
    "delete the line if nothing else is wrong, or move the file away to start the search again "
    "(trainings that were finished are found in the folder)"
)


def _drop_torn_line(path: Path, lock: Any) -> None:
    """Cuts off a last line that has no end."""
    if not _torn(path):
        return
    # Whoever has the lock may be writing that very line.
    lock.acquire()
    try:
        if not (length := _torn(path)):
            return
        size = path.stat().st_size
        os.truncate(path, size - length)
    finally:
        lock.release()
    console.warn(f"{path}: dropped its last line, which a killed process left half-written")


def _torn(path: Path) -> int:
    """Bytes behind the last end of a line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        length = 0
        while length < size:
            step = min(4096, size - length)
            file.seek(size - length - step)
            part = file.read(step)
            if b"\n" in part:
                return length + step - 1 - part.rindex(b"\n")
            length += step
    return length
