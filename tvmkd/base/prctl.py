"""Linux's ``prctl``: what a worker process asks of the kernel when it starts."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(sig: int = signal.SIGKILL) -> None:
    """Asks the kernel to send this process ``sig`` when its parent ends, for whatever reason.

    A closed stdin is not enough: a worker that computes, or is stopped (SIGSTOP), does not read it.

    Linux counts the thread that started this process as the parent: start workers from threads
    that live as long as the worker should.
    """
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, sig)
        if os.getppid() != parent:  # the parent ended before the request
            os._exit(1)
