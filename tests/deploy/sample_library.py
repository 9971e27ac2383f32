"""Compiles ``sample_model.c``, a model written by hand, as a library or an archive for a target."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tvmkd.base.toolchain import zig
from tvmkd.boards import emulate
from tvmkd.deploy.native_programs import HEADERS
from tvmkd.targets import Target

SOURCE = Path(__file__).parent / "sample_model.c"


def shared(target: Target, out: Path, *flags: str) -> Path:
    """Compiles the shared library; ``flags`` are macros such as ``-DSAMPLE_EXITS``."""
    triple = f"{target.toolchain.triple}.{target.toolchain.glibc}"
    return _compiled(triple, out, "-shared", "-fPIC", *flags)


def archive(target: Target, out: Path, *flags: str) -> Path:
    """Compiles the archive for a static program."""
    built = out.with_suffix(".o")
    _compiled(f"{target.architecture}-linux-musl", built, "-c", *flags)
    out.unlink(missing_ok=True)
    subprocess.run([*zig(), "ar", "rcs", os.fspath(out), os.fspath(built)], check=True)
    return out


def _compiled(triple: str, out: Path, *flags: str) -> Path:
    command = [*zig(), "cc", "-target", triple, "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"]
    command += ["-I", os.fspath(HEADERS), *flags, "-o", os.fspath(out), os.fspath(SOURCE)]
    subprocess.run(command, check=True)
    return out


def runner(target: Target) -> list[str]:
    """What stands before a command line for a target: QEMU, or nothing."""
    if target.architecture == os.uname().machine:
        return []
    return [emulate.QEMU, "-cpu", "cortex-a57", "-L", os.fspath(emulate.SYSTEM)]
