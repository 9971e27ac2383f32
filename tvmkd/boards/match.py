"""Whether a board is the machine that a target describes. TVM's handshake checks none of it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from tvmkd.base.errors import InputError


def _version(text: str) -> tuple[int, ...]:
    digits = text.strip().split(" ")[-1].split(".")
    return tuple(int(part) for part in digits if part.isdigit())


def _tvm_here() -> str | None:
    try:
        return metadata.version("apache-tvm")
    except metadata.PackageNotFoundError:
        return None


def mismatches(target: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Why code for ``target`` cannot or must not run on the board with these ``facts``.

    Args:
        target: ``Target.to_dict()``.
        facts: the answer of ``tvmkd.board.facts``. A fact that is missing counts as a match
            (upstream's server answers nothing).

    Returns:
        one clause a reason, empty if they fit.
    """
    found = []
    triple = str((target.get("toolchain") or {}).get("triple") or "")
    wanted, machine = triple.partition("-")[0], facts.get("machine")
    if wanted and machine and machine != wanted:
        found.append(f"it is {machine} and the target is {wanted}")
    here, there = _tvm_here(), facts.get("tvm")
    if here and there and here != there:
        found.append(f"it runs TVM {there} and this machine {here}")
    oldest, libc = (target.get("toolchain") or {}).get("glibc"), str(facts.get("libc") or "")
    if oldest and libc.startswith("glibc") and _version(libc) < _version(str(oldest)):
        found.append(f"its {libc} is older than the target's {oldest}")
    # Whether a real board has a usable GPU shows when the first kernel is loaded.
    if target.get("device") == "cuda" and facts.get("emulated"):
        found.append("an emulated board has no GPU")
    return found


def check_match(target: Mapping[str, Any], board: str, facts: Mapping[str, Any]) -> None:
    """Checks that a board fits a target.

    Raises:
        InputError: it does not; names the board and every reason.
    """
    reasons = mismatches(target, facts)
    if reasons:
        raise InputError(
            f"the board at {board} does not fit the target {target.get('name')!r}: "
            f"{'; '.join(reasons)}; give another --target or --rpc-key"
        )
