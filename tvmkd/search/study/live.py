"""What the user sees during a search: tables of its networks, or plain lines without a terminal.

Redrawn only when an event comes in, never by a thread of its own: an animation would take its CPU
from the network that is being timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tvmkd.base.console import console, say
from tvmkd.search.study.network_table import Progress, table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Follow = Callable[[str, dict[str, Any]], None]
REDRAW_SECONDS = 0.25
LINE_SECONDS = 15.0
ROWS_BESIDE = 12  # lines of the screen that are not rows of networks


def view(progress: Progress, rows: int, width: int) -> RenderableType:
    """The table, what each worker does, and the state in one line."""
    from rich.console import Group
    from rich.text import Text

    doing = [
        Text(f"worker {number + 1}: {text}", no_wrap=True, overflow="ellipsis", style="dim")
        for number, text in sorted(progress.doing.items())
    ]
    return Group(table(progress, rows, width), *doing, Text(progress.line()))


@contextmanager
def following(wanted: int, to: Console | None = None) -> Iterator[Follow]:
    """A callback for the events of a search, which shows them while the block runs.

    On a terminal a live view, which goes at the end; elsewhere a line now and then.

    Args:
        wanted: networks to train in all.
        to: the console (default: the one on stderr).
    """
    screen = to if to is not None else console()
    progress = Progress(wanted)
    if not screen.is_terminal:
        yield from _in_lines(progress, screen, to is None)
        return
    from rich.live import Live

    with Live(console=screen, auto_refresh=False, transient=True) as live:
        drawn = 0.0

        def follow(name: str, data: dict[str, Any]) -> None:
            nonlocal drawn
            progress.take(name, data)
            if name == "note":
                live.console.print(data["text"], markup=False)
            if name in ("study", "note") or time.monotonic() - drawn >= REDRAW_SECONDS:
                drawn = time.monotonic()
                rows = max(3, screen.height - ROWS_BESIDE - len(progress.doing))
                live.update(view(progress, rows, screen.width), refresh=True)

        yield follow


def _in_lines(progress: Progress, screen: Console, ours: bool) -> Iterator[Follow]:
    """Without a terminal."""
    last = time.monotonic()
    said = ""

    def show(text: str) -> None:
        if ours:
            say(text)
        else:
            screen.print(text, markup=False, soft_wrap=True)

    def follow(name: str, data: dict[str, Any]) -> None:
        nonlocal last, said
        progress.take(name, data)
        if name == "note":
            show(data["text"])
        elif time.monotonic() - last >= LINE_SECONDS:
            last, said = time.monotonic(), progress.line()
            known = [said] if progress.study is not None else []
            show(" · ".join([*known, *progress.doing.values()]))

    yield follow
    if progress.study is not None and progress.line() != said:
        show(progress.line())
