"""Regions of a model that another engine runs, in TVM's hands: the module that a library carries.

The module (``native/region.cc``) is compiled when it is first wanted: by who makes one, and by who
loads a library that has one. What its bytes say is :mod:`tvmkd.byoc.region`'s.
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Any

from tvmkd.base import native
from tvmkd.byoc import region as byoc

LOADER = "ffi.Module.load_from_bytes.tvmkd_region"  # by this name TVM looks for it
OPEN = "tvmkd.region.open"
NATIVE = Path(__file__).with_name("native")


@functools.cache
def _native() -> None:
    import tvm_ffi

    root = Path(tvm_ffi.__file__).parent
    flags = ["-std=c++17", "-isystem", f"{root / 'include'}", f"-L{root / 'lib'}", "-ltvm_ffi"]
    path = native.library(NATIVE / "region.cc", "c++", flags, tvm_ffi.__version__)
    ctypes.CDLL(os.fspath(path))


def install(tvm: Any) -> None:
    """Lets this process load libraries with regions in them. Costs nothing until one comes.

    Args:
        tvm: the module, compiler or runtime; of the Relay generation, it has no such libraries.
    """
    if hasattr(tvm, "register_global_func"):
        tvm.register_global_func(LOADER, _load, override=True)
        tvm.register_global_func(OPEN, byoc.open_region, override=True)


def make(symbol: str, region: bytes) -> Any:
    """A TVM module with the one function ``symbol``.

    Args:
        region: as :meth:`tvmkd.byoc.region.Region.to_bytes` has it.

    Raises:
        MissingError: the module cannot be compiled here.
    """
    _native()
    import tvm

    return tvm.get_global_func("tvmkd.region.make")(symbol, region)


def _load(saved: bytes) -> Any:
    _native()
    import tvm

    return tvm.get_global_func("tvmkd.region.load")(saved)
