"""Compilers and linkers on this machine: gcc, ld, and zig from the ``ziglang`` package."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from tvmkd.base import wheels
from tvmkd.base.errors import MissingError


def zig() -> list[str]:
    """The command that runs zig from the ``ziglang`` package.

    Raises:
        MissingError: the package is not installed.
    """
    try:
        binary = wheels.installed("ziglang", "zig")
    except MissingError:
        raise MissingError("no compiler for boards: install it with: pip install ziglang") from None
    return [os.fspath(binary)]


def linker_for(toolchain: Mapping[str, Any] | None) -> list[str]:
    """The command that links one object file into a shared library (``-o OUT IN`` is appended).

    For this machine's architecture that is ``ld`` itself: it takes 6 ms, gcc 25 ms, and gcc adds
    nothing that a kernel needs. For any other it is zig's linker.

    Args:
        toolchain: the target's ``{"triple", ...}``; None means this machine.

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
    # The linker alone takes 12 ms; `zig cc` takes 60 ms, and 16 s the first time.
    return [*zig(), "ld.lld", "-shared"]


def host_compiler() -> list[str]:
    """The command of a C compiler for this machine: gcc, or zig."""
    found = shutil.which("gcc") or shutil.which("cc")
    return [found] if found else [sys.executable, "-m", "ziglang", "cc"]
