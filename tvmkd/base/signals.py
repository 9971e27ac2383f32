"""Signals that end a command, and what a closed terminal or a broken ssh connection leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | signal.Handlers


def ending() -> tuple[signal.Signals, ...]:
    """SIGINT and SIGTERM, and SIGHUP unless it is ignored, as by nohup."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def hung_up() -> None:
    """Call it in a handler of SIGHUP: ignores further ones, and lets go of a terminal that is gone.

    A shell and the kernel send one each, and the second must not end what the first one began.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    let_go()


def let_go() -> None:
    """Drops a terminal that is gone: a write to it would be an error where a command ends."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            # A terminal that is gone is still a device, and answers nothing.
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


@contextlib.contextmanager
def handled(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    """Handles signals in the block; outside of the main thread they are left to who handles them.

    Args:
        handlers: by signal.
    """
    before = {}
    with contextlib.suppress(ValueError):
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            # None: not set by Python, and so not to be set back.
            if old is not None:
                signal.signal(number, old)
