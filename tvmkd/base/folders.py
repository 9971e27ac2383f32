"""Folders that appear whole, or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux


@contextlib.contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """A new empty folder, which is renamed to ``path`` at the end and replaces an older one there.

    Where the block or the renaming fails, the new folder is removed and the older one stays.

    Raises:
        OSError: the parent folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True
    ) as work:
        # Made by mkdir, so that its mode follows the umask; that of ``work`` is 0700.
        new, old = Path(work) / "new", Path(work) / "old"
        new.mkdir()
        yield new
        if path.exists():
            if _exchanged(new, path):
                return
            # A rename cannot replace a folder with files, so the older one is moved aside first.
            path.replace(old)
        try:
            new.replace(path)
        except BaseException:
            if old.exists():
                old.replace(path)
            raise


@contextlib.contextmanager
def undone(path: Path) -> Iterator[None]:
    """Where the block fails, removes the folder ``path`` and its parents, if the block made them.

    For folders that are written file by file, into what lies there already.
    """
    made = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    try:
        yield
    except BaseException:
        if made:
            shutil.rmtree(path, ignore_errors=True)
        for place in made[1:]:
            with contextlib.suppress(OSError):  # somebody else has put something there
                place.rmdir()
        raise


def _exchanged(first: Path, second: Path) -> bool:
    """Exchanges two paths in one step, so that a reader always finds a folder under each.

    Returns:
        False if the system or the file system cannot do that.
    """
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    paths = os.fsencode(first), os.fsencode(second)
    done: int = rename(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE)
    return done == 0


def make_once(path: Path, fill: Callable[[Path], None]) -> Path:
    """Returns ``path``; where no such folder exists, or an empty one, ``fill`` makes its files.

    Several processes may call this at a time: the first to finish gives the folder its name, and
    the others use that one.

    Args:
        fill: gets an empty folder beside ``path``.

    Raises:
        OSError: the parent folder cannot be written.
    """
    if _filled(path):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as work:
        made = Path(work) / "made"
        made.mkdir()
        fill(made)
        try:
            made.rename(path)
        except OSError:  # another process was faster
            if not _filled(path):
                raise
    return path


def _filled(path: Path) -> bool:
    return path.is_dir() and any(path.iterdir())
