"""Boards on this machine for the kernels of a target: its CPU's, or its GPU's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tvmkd.base import machine, nvidia_driver
from tvmkd.base.runtimes import STANDALONE, TVM
from tvmkd.boards import bundle
from tvmkd.boards import fleet as processes
from tvmkd.boards.bundle import Tell
from tvmkd.runtime.interpreters import Interpreter
from tvmkd.targets import Target


def why_not(target: Target, *, timed: bool = True) -> str | None:
    """None if boards on this machine can run a target's kernels, otherwise the reason why not.

    Args:
        target: whose kernels.
        timed: their times are to count: then the GPU has to be of the target's own generation.
    """
    # The server for a GPU needs of the machine what a standalone library does.
    reason = target.why_not_here(TVM if target.cuda is None else STANDALONE)
    if reason is not None or target.cuda is None or not timed:
        return reason
    arch = nvidia_driver.gpus()[0].arch
    if arch != target.cuda.arch:
        return f"it is for {target.cuda.arch}, and this GPU is {arch}: its times say little"
    return None


@contextlib.contextmanager
def fleet(
    target: Target,
    count: int = 1,
    key: str = "local",
    runs: Interpreter | None = None,
    tell: Tell = lambda text: None,
) -> Iterator[dict[str, Any]]:
    """A tracker and boards on this machine while the block runs.

    A GPU's kernels run in the server that boards have, which needs no CUDA toolkit; it is compiled
    the first time.

    Args:
        target: whose kernels they run; see `why_not`.
        count: of boards; they share the machine.
        key: of the boards.
        runs: the interpreter of the stack whose kernels they run (None: this one).
        tell: gets what is being done.

    Yields:
        ``{"host", "port", "key"}``.

    Raises:
        MissingError: a process did not start, or there is no compiler for the server.
    """
    server = None if target.cuda is None else bundle.runtime(target, tell) / bundle.SERVER
    threads = machine.physical_cores()
    with processes.local_fleet(count, key, threads=threads, runs=runs, server=server) as address:
        yield address
