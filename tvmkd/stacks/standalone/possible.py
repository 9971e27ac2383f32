"""Whether a standalone library can be built at all, before any work."""

from __future__ import annotations

from tvmkd.base import elf, stack_registry
from tvmkd.base.errors import UsageError
from tvmkd.targets import Target


def check(target: Target, stack: str, byoc: str | None) -> None:
    """Makes sure that what is asked for can be a standalone library.

    Raises:
        UsageError: the target, the stack or another option needs TVM's runtime.
    """
    reason = None
    if target.device != "cpu":
        reason = f"it is for CPU targets, and the kernels of {target.name} run on {target.device}"
    elif target.architecture not in elf.MACHINES:
        known = " and ".join(elf.MACHINES)
        reason = f"it is for {known}, and {target.name} is {target.architecture}"
    elif stack != stack_registry.DEFAULT:
        reason = f"it is for --stack {stack_registry.DEFAULT}"
    elif byoc is not None:
        reason = f"--byoc {byoc} needs TVM's runtime"
    if reason is not None:
        raise UsageError(f"--runtime standalone: {reason}")
