"""Compiles small C and C++ libraries of tvmkd on first use, and caches them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tvmkd.base import resources
from tvmkd.base.errors import MissingError
from tvmkd.base.files import draft
from tvmkd.base.toolchain import zig

COMPILERS = {"cc": ("gcc", "cc"), "c++": ("g++", "c++")}


def library(source: Path, language: str, flags: Sequence[str], made_with: str = "") -> Path:
    """Returns the shared library of ``source`` from ``$XDG_CACHE_HOME/tvmkd``; compiles it first.

    Args:
        source: a C or C++ file.
        language: ``cc`` or ``c++``.
        flags: compiler flags, added to those of any shared library. They are not part of the
            cache's key.
        made_with: part of the cache's key: the version of a library that the source is linked with.

    Raises:
        MissingError: there is no compiler, or it fails.
        InputError: the cache cannot be written.
    """
    base = resources.cache("native")
    key = hashlib.sha256(source.read_bytes() + made_with.encode()).hexdigest()[:16]
    path = base / f"{source.stem}-{key}.so"
    if not path.exists():
        with draft(path) as written:
            _compile(source, language, flags, written)
    return path


def _compile(source: Path, language: str, flags: Sequence[str], path: Path) -> None:
    names = COMPILERS[language]
    compiler = next(([found] for name in names if (found := shutil.which(name))), None)
    command = compiler or [*zig(), language]
    command = [*command, "-O2", "-s", "-shared", "-fPIC", "-o", os.fspath(path), os.fspath(source)]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingError(
            f"{command[0]} cannot compile {source.name} ({last}); apt install {names[0]}"
        )
