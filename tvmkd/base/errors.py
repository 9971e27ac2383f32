"""Typed errors. Each carries the exit code that the command line ends with."""

from __future__ import annotations

import errno


class TvmkdError(Exception):
    """Base of every error that tvmkd raises on purpose: one line, what, where, what to do."""

    exit_code = 1


class GateFailure(TvmkdError):
    """The gate said no (exit code 1)."""


class UsageError(TvmkdError):
    """The call is wrong, whatever the files hold (exit code 2)."""

    exit_code = 2


class InputError(TvmkdError):
    """A file, model or record that was given cannot be used (exit code 4)."""

    exit_code = 4


class MissingError(TvmkdError):
    """A needed package, board or service is not there (exit code 5); says how to get it."""

    exit_code = 5


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
        WorkerDied,
        WorkerTimeout,
    )
}
"""The class of an error that came over the wire by its class's name."""


def full_disk(error: BaseException, where: object = None) -> InputError | None:
    """The error to show where ``error`` says that a disk or a quota is full, else None.

    Args:
        error: what was caught.
        where: what was to be written; by default, the file that the error names.
    """
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    where = where or error.filename2 or error.filename or "the output folder"
    return InputError(
        f"{where}: the disk is full; free some space and run the same command again "
        "(nothing half-written was left in place of a result)"
    )


def unwritable(error: OSError, where: object) -> InputError:
    """The error to show where ``where`` could not be written, because of a full disk or other."""
    return full_disk(error, where) or InputError(
        f"{where}: cannot be written: {error.strerror or error}; give another path, or change the "
        "permissions of its folder"
    )
