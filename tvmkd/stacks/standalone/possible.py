"""Whether a standalone library can be built at all."""

from __future__ import annotations

from tvmkd.base import elf, stack_registry
from tvmkd.base.errors import UsageError
from tvmkd.base.exits import Exits
from tvmkd.base.frame_description import FrameOptions
from tvmkd.targets import Target


def check(
    target: Target,
    stack: str,
    byoc: str | None,
    exits: Exits | None = None,
    frames: FrameOptions | None = None,
) -> None:
    """Makes sure that what is asked for can be a standalone library.

    Args:
        target, stack, byoc: what is asked for.
        exits: early exits that the library is to have.
        frames: pre- and post-processing that it is to have.

    Raises:
        UsageError: the target, the stack or another option needs TVM's runtime.
    """
    reason = None
    if target.architecture not in elf.MACHINES:
        known = " and ".join(elf.MACHINES)
        reason = f"it is for {known}, and {target.name} is {target.architecture}"
    elif stack != stack_registry.DEFAULT:
        reason = f"it is for --stack {stack_registry.DEFAULT}"
    elif byoc is not None:
        reason = f"--byoc {byoc} needs TVM's runtime"
    elif target.device != "cpu" and (exits or frames):
        what = "early exits are" if exits else "pre-processing is"
        reason = f"{what} for CPU targets, and {target.name} runs on {target.device}"
    if reason is not None:
        raise UsageError(f"--runtime standalone: {reason}")
