"""The power script of a bundle: a target's power modes, and back to what was there before."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from tvmkd.base.errors import InputError, UsageError
from tvmkd.base.text import listing
from tvmkd.deploy.bundles.tool import BOARD
from tvmkd.targets import Target

MODES_MARK = "# @MODES@\n"


def modes(target: Target) -> dict[str, list[str]]:
    """The commands of each power mode in the target's ``[power]`` table.

    Raises:
        InputError: a mode is no list of commands.
    """
    found = {}
    for name, commands in target.power.items():
        if name == "watts":
            continue
        if not isinstance(commands, list) or not all(isinstance(line, str) for line in commands):
            raise InputError(f"{target.name}: [power] {name}: wants a list of commands")
        if name == "restore" or not name.isidentifier():
            raise InputError(f"{target.name}: [power] {name}: cannot be the name of a power mode")
        found[name] = commands
    return found


def check_mode(target: Target, mode: str | None) -> None:
    """Checks that the target has the power mode.

    Raises:
        UsageError: it has not.
    """
    known = modes(target)
    if mode is not None and mode not in known:
        had = f"has {listing(known)}" if known else "has no [power] table"
        raise UsageError(f"--power {mode}: {target.name} {had}")


def script(target: Target) -> str | None:
    """``power.sh MODE|restore`` for the target; None: its file names no power modes."""
    known = modes(target)
    if not known:
        return None
    template = (BOARD / "power.sh").read_text(encoding="utf-8")
    return template.replace(MODES_MARK, _cases(known))


def _cases(known: Mapping[str, list[str]]) -> str:
    lines: list[Any] = []
    for name, commands in known.items():
        lines.append(f"  {name})")
        lines.append("    save")
        for command in commands:
            try:
                words = shlex.split(command)
            except ValueError as error:
                raise InputError(f"[power] {name}: {command}: {error}") from None
            lines.append(f"    change {shlex.join(words)}")
        lines.append("    ;;")
    return "\n".join(lines) + "\n"
