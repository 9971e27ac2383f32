"""Whether eight bits pay on a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvmkd import console
from tvmkd.errors import UsageError

if TYPE_CHECKING:
    from tvmkd.targets import Target


def check(target: Target, allow_slow: bool) -> None:
    """Whether eight bits pay on a target, by its file.

    Raises:
        UsageError: they do not, and ``allow_slow`` is not set; where it is, that is a warning.
    """
    int8 = target.precisions["int8"]
    if int8.ok:
        return
    if not allow_slow:
        raise UsageError(
            f"int8 does not pay on {target.name}: {int8.reason}; "
            "set allow_slow = true in [quantize] to do it all the same"
        )
    console.warn(f"int8 does not pay on {target.name}: {int8.reason}")
