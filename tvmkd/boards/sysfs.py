"""The files of /proc and /sys: this machine's, those below a folder, or a listing of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """A board's files. Paths are absolute and the board's own: ``/sys/class/thermal``."""

    def text(self, path: str) -> str | None:
        """The content of a file without the blanks around it; None if it cannot be read."""

    def glob(self, pattern: str) -> list[str]:
        """The paths that match; ``*`` stands for a part of one name. Numbers sort by value."""


class Tree:
    """The files below a folder; with the default, this machine's own."""

    def __init__(self, root: str | Path = "") -> None:
        self._root = str(root).rstrip("/")

    def text(self, path: str) -> str | None:
        """See `Files`."""
        try:
            return Path(self._root + path).read_text(errors="replace").strip("\0\n\t ")
        except OSError:  # a part that is switched off answers EAGAIN or EIO, too
            return None

    def glob(self, pattern: str) -> list[str]:
        """See `Files`."""
        base = Path(self._root or "/")
        found = [str(path)[len(self._root) :] for path in base.glob(pattern.lstrip("/"))]
        return sorted(found, key=_by_number)


class Listing:
    """Files whose content is known already, such as what a board sent.

    Args:
        files: the content of each file, by its path.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = dict(files)

    def text(self, path: str) -> str | None:
        """See `Files`."""
        found = self._files.get(path)
        return None if found is None else found.strip("\0\n\t ")

    def glob(self, pattern: str) -> list[str]:
        """See `Files`. Folders count, as far as a file below them is known."""
        depth = pattern.count("/") + 1
        paths = {"/".join(path.split("/")[:depth]) for path in self._files}
        return sorted(filter(_matcher(pattern), paths), key=_by_number)


def _matcher(pattern: str) -> Callable[[str], bool]:
    parts = [fnmatch.translate(part) for part in pattern.split("/")]
    compiled = [re.compile(part) for part in parts]

    def matches(path: str) -> bool:
        names = path.split("/")
        return len(names) == len(compiled) and all(
            part.match(name) for part, name in zip(compiled, names, strict=True)
        )

    return matches


def _by_number(path: str) -> list[tuple[int, int | str]]:
    """``cpu10`` after ``cpu9``."""
    parts = re.split(r"(\d+)", path)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def whole(files: Files, path: str) -> int | None:
    """The whole number in a file; None if there is none."""
    text = files.text(path)
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]+", text) else None


def found(files: Files, path: str, pattern: str) -> str | None:
    """The first group of ``pattern`` in a file, searched line by line; None without a match."""
    match = re.search(pattern, files.text(path) or "", re.MULTILINE)
    return None if match is None else match.group(1).strip()
