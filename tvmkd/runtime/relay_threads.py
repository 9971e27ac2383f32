"""Makes hhb-tvm 3.2.3 use several threads; by itself it runs every kernel on one.

Its ``TVMBackendParallelLaunch`` asks OpenMP for one thread and ignores ``TVM_NUM_THREADS``. Our
function (``native/parallel_launch.c``) replaces it if its library is loaded first. The library is
compiled on first use.
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
    """Loads our library if this interpreter's TVM needs it. Call before TVM is imported.

    Returns:
        True if it is needed.

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
        MissingError: there is no compiler, or it fails.
    """
    return native.library(SOURCE, "cc", ["-pthread"])
