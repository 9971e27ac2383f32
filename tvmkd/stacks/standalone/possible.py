"""Whether a standalone library can be built at all, and whether it runs on this machine."""

from __future__ import annotations

from tvmkd.base import elf, stack_registry
from tvmkd.base.errors import UsageError
from tvmkd.base.exits import Exits
from tvmkd.base.frame_description import FrameOptions
from tvmkd.targets import Target
from tvmkd.tensorrt import device


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


def why_not_here(target: Target, runtime: str) -> str | None:
    """None if a library for ``target`` runs on this machine, otherwise the reason why not.

    Args:
        target: the target.
        runtime: what runs the library, one of `tvmkd.base.runtimes.RUNTIMES`.
    """
    reason = target.runs_here(runtime)
    if reason is not None or target.cuda is None:
        return reason
    gpu = device.find()
    if gpu is None:
        return "its kernels run on an NVIDIA GPU, and there is none here"
    needed = int(target.cuda.arch.removeprefix("sm_"))
    if int(gpu.compute_capability.replace(".", "")) < needed:
        return f"it is built for {target.cuda.arch}, and this GPU has {gpu.compute_capability}"
    return None
