"""Messages and progress on stderr; stdout is for results and ``--json``."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


@functools.lru_cache(maxsize=1)
def console() -> Console:
    """The process's console, on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """Prints one line as it is: rich markup is not interpreted."""
    console().print(message, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """Prints one line that starts with ``warning:``."""
    console().print("[yellow]warning:[/yellow] ", end="")
    console().print(message, markup=False, soft_wrap=True)


_quiet = False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars, spinners and steps in the block, which has a live view of its own; lines remain."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def progress(*, transient: bool = False) -> Progress:
    """A progress bar with a spinner, a count, the time left (at the end: taken) and a note."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    screen = console()
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
        console=screen,
        transient=transient,
        # Without a terminal all that remains of it is an empty line.
        disable=_quiet or (transient and not screen.is_terminal),
    )


@contextlib.contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Shows a spinner during work of unknown length.

    The block gets a function that changes the text. Without a terminal each text is one line.
    """
    screen = console()
    if _quiet:
        yield lambda step: None
        return
    if not screen.is_terminal:
        say(text)
        yield say
        return
    with screen.status(escape(text)) as status:
        yield lambda step: status.update(escape(step))


def escape(text: str) -> str:
    """``text`` with rich's markup escaped."""
    from rich.markup import escape as plain

    return plain(text)
