"""A fleet on the console."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tvmkd.deploy.monitoring import cells
from tvmkd.deploy.monitoring.view import View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table


def render(view: View) -> RenderableType:
    """Two tables, of boards and of models, those that have rows."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    if view.boards:
        parts.append(_table(cells.BOARD_HEADS, [cells.board(row) for row in view.boards]))
    if view.models:
        parts.append(_table(cells.MODEL_HEADS, [cells.model(row) for row in view.models]))
    if not parts:
        parts.append(Text("no board and no model"))
    told = time.strftime("%H:%M:%S", time.localtime(view.at))
    return Group(*parts, Text(f"{told}  p50, p99 and + are of the last minute", style="dim"))


def _table(heads: Sequence[str], rows: Sequence[Sequence[cells.Text]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    # A name from a server must not be taken for markup: every cell is a Text.
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, head in enumerate(heads):
        left = number == 0 or head in ("status", "server", "mode", "clock", "machine")
        made.add_column(head, justify="left" if left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(Text(_full(cell), style="red" if cell.bad else "") for cell in row))
    return made


def _full(cell: cells.Text) -> str:
    return f"{cell.text}: {cell.why}" if cell.why else cell.text
