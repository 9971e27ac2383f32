"""Which compiler and linker are chosen from those that a machine has."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvmkd.base import toolchain, wheels
from tvmkd.base.errors import MissingError

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A function that sets which programs this x86_64 machine has, and whether zig is installed."""

    def has(*programs: str, zig: bool = True) -> None:
        def installed(package: str, inside: str) -> Path:
            if not zig:
                raise MissingError("not installed")
            return Path("/packages") / package / inside

        found = {name: f"/bin/{name}" for name in programs}
        monkeypatch.setattr(shutil, "which", found.get)
        monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="x86_64"))
        monkeypatch.setattr(wheels, "installed", installed)

    return has


ZIG = "/packages/ziglang/zig"
ZIG_LINKER = [ZIG, "ld.lld", "-shared"]


def test_zig_is_the_program_in_its_package(machine: Machine) -> None:
    machine()
    assert toolchain.zig() == [ZIG]
    machine(zig=False)
    with pytest.raises(MissingError, match=r"^no compiler for boards: .*pip install ziglang$"):
        toolchain.zig()


@pytest.mark.parametrize(
    ("programs", "command"),
    [
        (("ld", "gcc", "cc"), ["/bin/ld", "-shared"]),
        (("cc", "ld"), ["/bin/ld", "-shared"]),
        (("gcc", "cc"), ["/bin/gcc", "-shared"]),
        (("cc",), ["/bin/cc", "-shared"]),
        ((), ZIG_LINKER),
    ],
)
@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"triple": None},
        {"triple": ""},
        {"triple": "x86_64-linux-gnu", "glibc": "2.28"},
        {"triple": "x86_64"},
    ],
)
def test_this_machines_linker_is_the_fastest_that_it_has(
    machine: Machine, programs: tuple[str, ...], command: list[str], given: dict[str, Any] | None
) -> None:
    machine(*programs)
    assert toolchain.linker_for(given) == command


@pytest.mark.parametrize("triple", ["aarch64-linux-gnu", "x86-linux-gnu", "x86_64h-linux-gnu"])
def test_another_machines_linker_is_zigs(machine: Machine, triple: str) -> None:
    machine("ld", "gcc", "cc")
    assert toolchain.linker_for({"triple": triple}) == ZIG_LINKER
    machine("ld", "gcc", "cc", zig=False)
    with pytest.raises(MissingError, match="pip install ziglang"):
        toolchain.linker_for({"triple": triple})


def test_without_any_linker_zig_is_named(machine: Machine) -> None:
    machine(zig=False)
    with pytest.raises(MissingError, match="pip install ziglang"):
        toolchain.linker_for(None)


@pytest.mark.parametrize(
    ("programs", "command"),
    [
        (("gcc", "cc"), ["/bin/gcc"]),
        (("cc", "ld"), ["/bin/cc"]),
        (("ld",), [sys.executable, "-m", "ziglang", "cc"]),
    ],
)
def test_this_machines_compiler_is_gcc_or_cc_or_zigs(
    machine: Machine, programs: tuple[str, ...], command: list[str]
) -> None:
    machine(*programs)
    assert toolchain.host_compiler() == command
