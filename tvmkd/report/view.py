"""What the templates of a page show, as plain data: text is escaped by the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

Mood = Literal["", "good", "bad"]
NOTHING = "–"
"""The text of a cell without a value."""


@dataclass(frozen=True)
class Tile:
    """One figure at the top of the page, with its colour."""

    value: str
    label: str
    mood: Mood = ""


@dataclass(frozen=True)
class Note:
    """One item of "Before you rely on this"; the subject is set in bold before the text."""

    text: str
    subject: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: the value.
        tip: a text that appears on hover.
        pill: a short mark before the text, in the colour of ``mood``.
        share: 0 to 1: the length of a bar that is drawn instead of the text.
    """

    text: str = NOTHING
    tip: str = ""
    pill: str = ""
    mood: Mood = ""
    share: float | None = None


@dataclass(frozen=True)
class Row:
    """One row: its name, and the cells beside it. ``first`` emphasises it."""

    name: str
    cells: Sequence[Cell]
    first: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first of ``heads`` is that of the names."""

    heads: Sequence[str]
    rows: Sequence[Row]
    caption: str = ""

    def without_empty_columns(self) -> Table:
        """The same table without the columns in which no row has a value."""
        kept = [
            index
            for index in range(len(self.heads) - 1)
            if any(row.cells[index] != Cell() for row in self.rows)
        ]
        return Table(
            [self.heads[0], *(self.heads[index + 1] for index in kept)],
            [Row(row.name, [row.cells[index] for index in kept], row.first) for row in self.rows],
            self.caption,
        )


@dataclass(frozen=True)
class Section:
    """A titled block: a chart, tables, and facts as names with values."""

    title: str
    lead: str = ""
    chart: Markup = field(default_factory=Markup)
    tables: Sequence[Table] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
