"""What a trained supernet holds for: kept beside it, so that another search does not replace it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text, write_json
from tvmkd.search.study.fingerprint import difference, fingerprint

if TYPE_CHECKING:
    from tvmkd.search.study.bench import Plan
    from tvmkd.search.study.goal import Goal

FILE = "made_for.json"
_FREE = ("target", "target file", "stack", "objective", "budget", "weights", "finishing")
"""What may be another one: the weights of a supernet serve any target, budget and objective, and
whatever is done with its parts afterwards."""


def claim(plan: Plan, folder: Path, data: str, goal: Goal, multiple: int) -> None:
    """Marks the folder of a new supernet, or checks that an older one was made for the same.

    Args:
        plan: of the search.
        folder: of the supernet.
        data: hash of the data, see `Task.sha256`.
        goal: of the search.
        multiple: what channel counts are rounded to a multiple of.

    Raises:
        InputError: it was made for something else; says for what.
    """
    facts = {
        name: fact for name, fact in fingerprint(plan, data, goal).items() if name not in _FREE
    }
    facts = {**facts, "channel multiple": multiple}
    known = _read(folder / FILE)
    if known is None:
        write_json(folder / FILE, facts)
        return
    found = difference(known, facts)
    if found is not None:
        raise InputError(
            f"{folder}: this supernet was made with {found}; give another [project] out to train "
            "anew, or put it back"
        )


def _read(path: Path) -> dict[str, Any] | None:
    """The facts in a file; None where it is missing, or damaged."""
    try:
        known = json.loads(read_text(path))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and "space" in known else None
