"""The compilers and linkers of this machine: gcc, ld, and the zig of the ``ziglang`` package."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from tvmkd.base import wheels
from tvmkd.base.errors import MissingError


def zig() -> list[str]:
    """The command that runs the zig of the ``ziglang`` package.

    Raises:
        MissingError: it is not installed.
    """
    try:
        binary = wheels.installed("ziglang", "zig")
    except MissingError:
        raise MissingError("no compiler for boards: install it with: pip install ziglang") from None
    return [os.fspath(binary)]


def linker_for(toolchain: Mapping[str, Any] | None) -> list[str]:
    """The command that links one object file into a shared library (``-o OUT IN`` is appended).

    ``ld`` by itself for this machine's own architecture (6 ms; gcc takes 25 ms and adds nothing
    a kernel needs), zig's for any other.

    Args:
        toolchain: ``{"triple", ...}`` of the target; None means this machine.

    Raises:
        MissingError: neither linker is installed.
    """
    triple = str((toolchain or {}).get("triple") or "")
    machine = triple.split("-")[0]
    if not machine or machine == os.uname().machine:
        for name, command in (("ld", ["-shared"]), ("gcc", ["-shared"]), ("cc", ["-shared"])):
            found = shutil.which(name)
            if found:
                return [found, *command]
    # The linker alone here too: 12 ms, where `zig cc` takes 60 and 16 s the first time.
    return [*zig(), "ld.lld", "-shared"]


def host_compiler() -> list[str]:
    """A C compiler for this machine itself: gcc, or zig."""
    found = shutil.which("gcc") or shutil.which("cc")
    return [found] if found else [sys.executable, "-m", "ziglang", "cc"]
