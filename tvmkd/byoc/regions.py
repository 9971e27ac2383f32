"""The TVM module of a region that another engine runs, as a library contains it.

The module (``native/region.cc``) is compiled on first use: when a library with regions is made, or
is loaded. :mod:`tvmkd.byoc.region` reads and writes its bytes.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tvmkd.base import native
from tvmkd.byoc import region as byoc

LOADER = "ffi.Module.load_from_bytes.tvmkd_region"  # the name that TVM looks up
OPEN = "tvmkd.region.open"
NATIVE = Path(__file__).with_name("native")


@functools.cache
def _native() -> None:
    import tvm_ffi

    root = Path(tvm_ffi.__file__).parent
    flags = ["-std=c++17", "-isystem", f"{root / 'include'}", f"-L{root / 'lib'}", "-ltvm_ffi"]
    path = native.library(NATIVE / "region.cc", "c++", flags, tvm_ffi.__version__)
    ctypes.CDLL(os.fspath(path))


def install(ffi: Any, tensor: Callable[[Any], Any]) -> None:
    """Lets this process load libraries with regions; compiles nothing before the first one.

    Args:
        ffi: the module ``tvm`` or ``tvm_ffi``. With a ``tvm`` of the Relay generation, whose
            libraries have no regions, this does nothing.
        tensor: makes a TVM tensor of an array.
    """
    if hasattr(ffi, "register_global_func"):
        ffi.register_global_func(LOADER, _load, override=True)

        def opened(region: bytes) -> Callable[..., Any]:
            return byoc.open_region(region, tensor)

        ffi.register_global_func(OPEN, opened, override=True)


def make(symbol: str, region: bytes) -> Any:
    """A TVM module with one function.

    Args:
        symbol: the function's name.
        region: the result of :meth:`tvmkd.byoc.region.Region.to_bytes`.

    Raises:
        MissingError: the module cannot be compiled here.
    """
    _native()
    import tvm_ffi

    return tvm_ffi.get_global_func("tvmkd.region.make")(symbol, region)


def _load(saved: bytes) -> Any:
    _native()
    import tvm_ffi

    return tvm_ffi.get_global_func("tvmkd.region.load")(saved)
