"""Walks folders as users mean them: links followed, cycles cut, hidden files left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Made by operating systems, file servers and archivers, never by people.
SYSTEM = frozenset(
    {"__macosx", "__pycache__", "@eadir", "@recycle", "#recycle", "$recycle.bin", "lost+found"}
    | {"system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
)

HIDDEN = "hidden or system files and folders"
DANGLING = "links to nothing"
CYCLE = "links to a folder that is read already"

LeftOut = Callable[[str, Path], None]
"""Called with the reason, one of the three above, and what was left out."""


def is_hidden(name: str) -> bool:
    """True for ``.name``, and for what systems leave behind (``Thumbs.db``, ``__MACOSX``)."""
    return name.startswith(".") or name.lower() in SYSTEM


def entries(folder: Path, left: LeftOut) -> tuple[list[Path], list[Path]]:
    """The visible sub-folders and files of one folder, sorted; links count as what they point to.

    A link to the folder itself or to one above it is a cycle, and left out.

    Args:
        folder: the folder.
        left: told what is hidden and which links point to nothing.

    Raises:
        OSError: the folder cannot be read.
    """
    folders: list[Path] = []
    files: list[Path] = []
    # A DirEntry knows its kind without a stat: with 100,000 files that is most of the time.
    with os.scandir(folder) as found:
        listed = sorted(found, key=lambda entry: entry.name)
    for entry in listed:
        path = folder / entry.name
        item = path if entry.is_symlink() else entry
        if is_hidden(entry.name):
            left(HIDDEN, path)
        elif item.is_dir():
            if path is item and _contains(path, folder):
                left(CYCLE, path)
            else:
                folders.append(path)
        elif item.is_file():
            files.append(path)
        elif path is item:
            left(DANGLING, path)
    return folders, files


def files_below(folder: Path, left: LeftOut = lambda reason, path: None) -> Iterator[Path]:
    """All visible files below a folder, in no fixed order.

    Links to folders are followed, unless that folder was read already: each file is given once.

    Args:
        folder: the folder.
        left: told what was left out, and why.

    Raises:
        OSError: a folder cannot be read.
    """
    seen = {os.path.realpath(folder)}
    waiting = [folder]
    while waiting:
        folders, files = entries(waiting.pop(), left)
        yield from files
        for path in folders:
            real = os.path.realpath(path)
            if real in seen:
                left(CYCLE, path)
                continue
            seen.add(real)
            waiting.append(path)


def _contains(path: Path, folder: Path) -> bool:
    inside = os.path.join(os.path.realpath(folder), "")
    return inside.startswith(os.path.join(os.path.realpath(path), ""))
