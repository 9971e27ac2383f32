"""A thread for each core where a Relay TVM has none: hhb-tvm 3.2.3 runs every kernel on one.

Its ``TVMBackendParallelLaunch`` asks OpenMP for one thread, whatever ``TVM_NUM_THREADS`` says. Ours
(``native/parallel_launch.c``) takes its place when it is loaded first. It is compiled when it is
first wanted.
"""

from __future__ import annotations

import ctypes
import os
from importlib import metadata
from pathlib import Path

from tvmkd.base import native

SOURCE = Path(__file__).with_name("native") / "parallel_launch.c"
SINGLE_THREADED = "hhb-tvm"  # the distribution that needs it


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
    """The compiled library; see :func:`tvmkd.base.native.library`.

    Raises:
        MissingError: there is no compiler, or it refuses.
    """
    return native.library(SOURCE, "cc", ["-pthread"])
