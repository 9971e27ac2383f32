from __future__ import annotations

import errno
import re

import pytest

from tvmkd.base import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.GateFailure, 1),
        (errors.UsageError, 2),
        (errors.InputError, 4),
        (errors.MissingError, 5),
        (errors.TvmkdError, 70),
        (errors.InternalError, 70),
        (errors.WorkerDied, 70),
        (errors.WorkerTimeout, 70),
    ],
)
def test_exit_codes(kind: type[errors.TvmkdError], code: int) -> None:
    assert kind("x").exit_code == code
    assert errors.BY_NAME[kind.__name__] is kind


def test_a_subclass_is_sent_as_the_nearest_known_class() -> None:
    class Unloadable(errors.InputError):
        """Known to one module only."""

    assert errors.name_of(Unloadable("x")) == "InputError"
    assert errors.name_of(errors.WorkerTimeout("x")) == "WorkerTimeout"
    assert errors.name_of(errors.TvmkdError("x")) == "TvmkdError"


def test_exit_code_1_is_the_gates() -> None:
    assert [kind for kind in errors.BY_NAME.values() if kind.exit_code == 1] == [errors.GateFailure]


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (
            MemoryError("Unable to allocate 7 TiB"),
            errors.MissingError,
            r"memory \(Unable .* TiB\);",
        ),
        (MemoryError(), errors.MissingError, r"^not enough memory; use"),
        (OSError(errno.ENOSPC, "No space"), errors.InputError, "the disk is full"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/root/x"),
            errors.InputError,
            r"^/root/x: Permission denied; check the path",
        ),
        (OSError(errno.ENAMETOOLONG, "too long", b"\xff"), errors.InputError, "too long"),
    ],
)
def test_what_the_machine_or_a_path_causes_is_expected(
    error: Exception, kind: type[errors.TvmkdError], line: str
) -> None:
    found = errors.expected(error)
    assert type(found) is kind
    assert re.search(line, str(found))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "I/O error", "/mnt/x"),
        PermissionError(errno.EPERM, "Operation not permitted"),
        PermissionError(errno.EACCES, "Permission denied", 3),
        KeyError("x"),
    ],
)
def test_anything_else_is_a_fault(error: Exception) -> None:
    assert errors.expected(error) is None


def test_only_a_full_disk_is_a_full_disk() -> None:
    full = errors.full_disk(OSError(errno.ENOSPC, "No space left on device", "/mnt/a"))
    assert isinstance(full, errors.InputError)
    assert str(full).startswith("/mnt/a: the disk is full")
    assert errors.full_disk(OSError(errno.EDQUOT, "Disk quota exceeded")) is not None
    assert errors.full_disk(OSError(errno.EACCES, "Permission denied")) is None
    assert errors.full_disk(ValueError("x")) is None
