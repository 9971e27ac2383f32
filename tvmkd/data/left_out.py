"""Counts the files of a data folder that are not used, and says so in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tvmkd.base import console, walk
from tvmkd.base.images import PICTURES, suffixes

LOOSE = "images outside of the class folders"

# Nobody expects these to be trained on.
_TEXTS = frozenset(
    [
        ".cache",
        ".csv",
        ".db",
        ".html",
        ".ini",
        ".json",
        ".log",
        ".md",
        ".pdf",
        ".py",
        ".txt",
        ".xml",
        ".yaml",
        ".yml",
    ]
)
_said: set[str] = set()


class LeftOut:
    """What was left out below a folder, by kind.

    Args:
        root: the folder, for the message.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: Counter[str] = Counter()

    def __call__(self, reason: str, path: Path) -> None:
        """Counts one thing, for a reason of `walk` or ``LOOSE``."""
        del path
        self._found[reason] += 1

    def add(self, counts: Mapping[str, int]) -> None:
        """Counts several things, by their endings or in a few words."""
        self._found.update(counts)

    def picture(self, path: Path) -> bool:
        """True if a file is a picture that can be read; others are counted by their endings."""
        ending = path.suffix.lower()
        if ending in suffixes():
            return True
        self._found[ending or "files without an ending"] += 1
        return False

    def line(self) -> str:
        """The counts in one line, empty if nothing was left out."""
        if not self._found:
            return ""
        parts = [f"{count} {_described(kind)}" for kind, count in self._found.most_common()]
        return f"{self._root}: left out: {', '.join(parts)}"

    def report(self) -> None:
        """Prints the line, once in a process: as a warning if users may miss something."""
        line = self.line()
        if not line or line in _said:
            return
        _said.add(line)
        missed = self._found.keys() - _TEXTS - {walk.HIDDEN}
        (console.warn if missed else console.say)(line)


def _described(kind: str) -> str:
    if kind in (".heic", ".heif", ".hif"):
        return f"{kind} (to read them: pip install pillow-heif)"
    if kind in PICTURES:
        return f"{kind} (this Pillow cannot read them: convert them to .png)"
    return kind
