"""Typed errors; each has the exit code of the command line."""

from __future__ import annotations

import errno
import os

FAULT = 70
"""Exit code of a fault in tvmkd or a library that it uses: ``EX_SOFTWARE`` of sysexits.h."""


class TvmkdError(Exception):
    """Base class of tvmkd's own errors. A message is one line: what, where, what to do.

    Attributes:
        exit_code: of the command line; of this class itself: `FAULT`.
        details: more for a fault report, such as the traceback of the worker; may be empty.
    """

    exit_code = FAULT
    details = ""


class GateFailure(TvmkdError):
    """A condition of the gate does not hold (exit code 1)."""

    exit_code = 1


class UsageError(TvmkdError):
    """The command line or the arguments are wrong, whatever the files contain (exit code 2)."""

    exit_code = 2


class InputError(TvmkdError):
    """A given file, model or record cannot be used (exit code 4)."""

    exit_code = 4


class MissingError(TvmkdError):
    """A required package, board or service is missing (exit code 5); says how to get it."""

    exit_code = 5


class InternalError(TvmkdError):
    """An error that nobody expected, of tvmkd or of a library that it uses (exit code 70)."""


class WorkerDied(TvmkdError):
    """A worker process ended without an answer: it crashed, was killed, or overran its time."""


class WorkerTimeout(WorkerDied):
    """A worker process gave no answer in the time it had, and was killed."""


BY_NAME: dict[str, type[TvmkdError]] = {
    kind.__name__: kind
    for kind in (
        TvmkdError,
        GateFailure,
        UsageError,
        InputError,
        MissingError,
        InternalError,
        WorkerDied,
        WorkerTimeout,
    )
}
"""Error classes by name: over `tvmkd.base.wire` an error is sent as its class's name and text."""


def name_of(error: TvmkdError) -> str:
    """The name under which `BY_NAME` has the error's class, or its nearest base class."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in BY_NAME)


def expected(error: BaseException) -> TvmkdError | None:
    """The error to show for an exception of Python whose cause is the machine or a path, else None.

    A full disk, a path that cannot be used, too little memory.
    """
    if isinstance(error, MemoryError):
        text = " ".join(str(error).split())
        return MissingError(
            f"not enough memory{f' ({text})' if text else ''}; use a smaller model or batch, or a "
            "machine with more memory"
        )
    full = full_disk(error)
    if full is not None or not isinstance(error, OSError) or error.errno not in _OF_A_PATH:
        return full
    if error.filename is None or isinstance(error.filename, int):
        return None
    where = os.fsdecode(error.filename)
    return InputError(f"{where}: {error.strerror}; check the path and its permissions")


_OF_A_PATH = frozenset(
    {
        errno.EACCES,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


def full_disk(error: BaseException, where: object = None) -> InputError | None:
    """The error to show if ``error`` means that a disk or a quota is full, else None.

    Args:
        error: the caught exception.
        where: the path that could not be written; by default the file that the error names.
    """
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    where = where or error.filename2 or error.filename or "the output folder"
    return InputError(
        f"{where}: the disk is full; free some space and run the same command again "
        "(nothing half-written was left in place of a result)"
    )


def unwritable(error: OSError, where: object) -> InputError:
    """The error to show if ``where`` cannot be written, whatever the reason."""
    return full_disk(error, where) or InputError(
        f"{where}: cannot be written: {error.strerror or error}; give another path, or change the "
        "permissions of its folder"
    )
