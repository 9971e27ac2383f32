"""The learner in C, compiled for a target by zig and cached: an archive and a shared library."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tvmkd.base import folders, resources
from tvmkd.base.errors import TvmkdError
from tvmkd.base.files import sha256
from tvmkd.base.toolchain import zig
from tvmkd.deploy.native_programs import HEADERS
from tvmkd.targets import Target

NATIVE = HEADERS.parent / "learn"
HEADER = NATIVE / "tvmkd_learn.h"
ARCHIVE, SHARED = "libtvmkd_learn.a", "libtvmkd_learn.so"
SOURCES = ("examples", "half", "head_file", "learn", "sha256", "training", "verdict")
# A fused multiply-add would round otherwise than numpy does.
_FLAGS = (
    *("-std=c11", "-O3", "-fPIC", "-ffp-contract=off", "-fno-sanitize=all"),
    *("-Wall", "-Wextra", "-Werror"),
)


def compiled(target: Target) -> Path:
    """The folder with `ARCHIVE` and `SHARED` for a target; compiles them if the cache has none.

    Raises:
        MissingError: there is no compiler (``pip install ziglang``).
    """
    made = {
        "sources": [(path.name, sha256(path)) for path in sorted(NATIVE.glob("*.[ch]"))],
        "target": [target.toolchain.triple, target.toolchain.glibc, target.mcpu],
        "compiler": [*zig(), *_FLAGS],
    }
    key = hashlib.sha256(repr(made).encode()).hexdigest()[:16]
    place = resources.cache("native") / f"learner-{target.architecture}-{key}"
    return folders.make_once(place, lambda folder: _compile(target, folder))


def _compile(target: Target, folder: Path) -> None:
    toolchain = target.toolchain
    compiler = [*zig(), "cc", *_FLAGS, "-target", f"{toolchain.triple}.{toolchain.glibc}"]
    if target.mcpu and target.mcpu != "generic":
        compiler.append(f"-mcpu={target.mcpu.replace('-', '_')}")
    objects = []
    for name in SOURCES:
        objects.append(os.fspath(folder / f"tvmkd_learn_{name}.o"))
        _run([*compiler, "-c", os.fspath(NATIVE / f"{name}.c"), "-o", objects[-1]])
    _run([*zig(), "ar", "rcsD", os.fspath(folder / ARCHIVE), *objects])
    _run([*compiler, "-shared", "-s", *objects, "-lm", "-o", os.fspath(folder / SHARED)])
    for each in objects:
        Path(each).unlink()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise TvmkdError(f"the learner cannot be compiled: {lines[0].strip()}")
