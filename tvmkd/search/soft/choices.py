"""The choices about a network's structure: how many channels of each group, which blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from tvmkd.search.soft.groups import Group

Structure = Mapping[str, int]
"""For each choice, by its name, the option: channels that stay, or 1 (0) for a block that stays
(goes). A choice that is not in it stays whole."""


@dataclass(frozen=True)
class Choice:
    """One choice.

    Attributes:
        name: path of the first layer that computes the channels, or of the block.
        kind: what is chosen.
        options: channels that stay, all of them first; ``(1, 0)`` for a block.
        group: of a width.
    """

    name: str
    kind: Literal["width", "depth"]
    options: tuple[int, ...]
    group: Group | None = None

    def holds(self, path: str) -> bool:
        """Whether a module is in the block."""
        return self.kind == "depth" and f"{path}.".startswith(f"{self.name}.")

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the group."""
        return {"name": self.name, "kind": self.kind, "options": list(self.options)}


def neighbours(choices: Sequence[Choice]) -> list[tuple[int, int]]:
    """The pairs whose effects on the latency do not just add up, by their numbers, lower first.

    Two groups of channels with a layer in common, and a block with a group that is partly in it.
    """
    found = []
    for (first, one), (second, other) in combinations(enumerate(choices), 2):
        if one.group is not None and other.group is not None:
            related = bool(one.group.layers & other.group.layers)
        else:
            block, width = (one, other) if one.kind == "depth" else (other, one)
            if width.group is None:
                related = False
            else:
                inside = [block.holds(path) for path in width.group.layers]
                related = any(inside) and not all(inside)
        if related:
            found.append((first, second))
    return found


def home(choices: Sequence[Choice]) -> list[int | None]:
    """For each choice the number of the block that has all of it; None: it is in no block.

    If the block goes, the choice is without effect.
    """
    found: list[int | None] = []
    for choice in choices:
        layers = () if choice.group is None else choice.group.layers
        found.append(
            next(
                (
                    number
                    for number, block in enumerate(choices)
                    if layers and all(block.holds(path) for path in layers)
                ),
                None,
            )
        )
    return found
