"""What a run over a suite has found so far, as a file: ``suite.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text, write_text
from tvmkd.bench.schema import Comparison

FILE, COMPARISON = "suite.json", "comparison.json"

State = Literal["done", "failed", "left"]


class Entry(BaseModel):
    """One network of the suite."""

    name: str
    state: State
    """``left``: it was not begun."""
    reason: str = ""
    """Why it failed or was left."""
    seconds: float = 0.0
    """What it took, builds and tuning included."""


class Result(BaseModel):
    """A run over a suite."""

    schema_version: Literal[1] = 1
    tool: str
    created: str
    """UTC, ISO 8601, of the last change."""
    suite: str
    description: str = ""
    device: str
    """``cpu`` or ``gpu``."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """What all networks were compared with."""
    networks: list[Entry]

    def count(self, state: State) -> int:
        """How many networks are in a state."""
        return sum(entry.state == state for entry in self.networks)

    def comparisons(self, folder: Path) -> Iterator[tuple[Entry, Comparison]]:
        """The networks that are done, each with its comparison.

        Args:
            folder: of ``suite.json``.
        """
        for entry in self.networks:
            if entry.state == "done":
                yield entry, Comparison.load(folder / entry.name / COMPARISON)

    def save(self, folder: Path) -> None:
        """Writes the file in one step."""
        write_text(folder / FILE, self.model_dump_json(indent=1) + "\n")


def load(folder: Path) -> Result:
    """Reads what `Result.save` wrote.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / FILE
    try:
        return Result.model_validate(json.loads(read_text(path)))
    except FileNotFoundError:
        raise InputError(f"{folder}: holds no {FILE}; tvmkd compare --suite writes it") from None
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: not the result of a suite: {error}") from None
