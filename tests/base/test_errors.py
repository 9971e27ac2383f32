from __future__ import annotations

import errno

import pytest

from tvmkd.base import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.GateFailure, 1),
        (errors.UsageError, 2),
        (errors.InputError, 4),
        (errors.MissingError, 5),
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


def test_only_a_full_disk_is_a_full_disk() -> None:
    full = errors.full_disk(OSError(errno.ENOSPC, "No space left on device", "/mnt/a"))
    assert isinstance(full, errors.InputError)
    assert str(full).startswith("/mnt/a: the disk is full")
    assert errors.full_disk(OSError(errno.EDQUOT, "Disk quota exceeded")) is not None
    assert errors.full_disk(OSError(errno.EACCES, "Permission denied")) is None
    assert errors.full_disk(ValueError("x")) is None
