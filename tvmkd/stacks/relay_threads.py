"""A thread for each core where a Relay TVM has none: hhb-tvm 3.2.3 runs every kernel on one.

Its ``TVMBackendParallelLaunch`` asks OpenMP for one thread, whatever ``TVM_NUM_THREADS`` says. Ours
(``native/parallel_launch.c``) takes its place when it is loaded first. It is compiled when it is
first wanted.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

from tvmkd.errors import MissingError

SINGLE_THREADED = "hhb-tvm"  # the distribution that needs it
SOURCE = Path(__file__).with_name("native") / "parallel_launch.c"


def preload() -> bool:
    """To be called before TVM is imported: loads ours where this interpreter's TVM needs it.

    Returns:
        whether it does.

    Raises:
        MissingError: it cannot be compiled.
    """
    try:
        metadata.version(SINGLE_THREADED)
    except metadata.PackageNotFoundError:
        return False
    ctypes.CDLL(os.fspath(library()), ctypes.RTLD_GLOBAL)
    return True


def library() -> Path:
    """The compiled library, below ``$XDG_CACHE_HOME/tvmkd``.

    Raises:
        MissingError: there is no compiler, or it refuses.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tvmkd" / "native"
    path = base / f"parallel_launch-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    if not path.exists():
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=base) as work:
            made = Path(work) / path.name
            _compile(made)
            made.replace(path)
    return path


def _compile(path: Path) -> None:
    from tvmkd.boards.bundle import zig

    compiler = next(([found] for name in ("gcc", "cc") if (found := shutil.which(name))), None)
    command = compiler or [*zig(), "cc"]
    flags = ["-O2", "-shared", "-fPIC", "-pthread", "-o", os.fspath(path), os.fspath(SOURCE)]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingError(f"{command[0]} cannot compile {SOURCE.name} ({last}); apt install gcc")
