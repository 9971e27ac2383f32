"""What a process must do before it imports TVM, so that the import is small, quick and quiet.

Only worker processes call this: the command line never imports TVM.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.abc
import inspect
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from tvmkd.runtime import relay_shims, relay_threads


class _NoTorch(importlib.abc.MetaPathFinder):
    # Not ``sys.modules["torch"] = None``: scipy, which xgboost imports, looks there and takes the
    # None for a module.
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname == "torch":
            raise ModuleNotFoundError("torch is kept out of compiler processes", name=fullname)


def without_torch() -> None:
    """Makes ``import torch`` fail in this process.

    ``tvm_ffi`` imports torch where it finds it: 500 MB and several seconds in every process that
    only wants to compile or time a kernel.
    """
    if not any(isinstance(finder, _NoTorch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoTorch())


@contextlib.contextmanager
def torch_kept_out() -> Iterator[None]:
    """As `without_torch`, for the block only: in a process whose owner may import torch later.

    Does nothing where torch is imported already.
    """
    if "torch" in sys.modules:
        yield
        return
    finder = _NoTorch()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextlib.contextmanager
def light_stack() -> Iterator[None]:
    """Replaces ``inspect.stack`` by one that reads no source files, while the block runs.

    ``tvm.s_tir.tensor_intrin`` parses hundreds of TVMScript functions at import, and each asks
    for the stack with its source lines: that is most of the import's time.
    """

    def stack(context: int = 1) -> list[inspect.FrameInfo]:
        frame: Any = sys._getframe(1)
        found = []
        while frame is not None:
            code = frame.f_code
            found.append(
                inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None)
            )
            frame = frame.f_back
        return found

    real = inspect.stack
    inspect.stack = stack
    try:
        yield
    finally:
        inspect.stack = real


def import_compiler() -> Any:
    """Imports TVM with MetaSchedule and the tensor intrinsics, and returns the ``tvm`` module."""
    without_torch()
    # One OpenBLAS thread: numpy's pool would otherwise be there before a fork.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with light_stack():
        import tvm
        import tvm.s_tir.meta_schedule
        import tvm.s_tir.tensor_intrin
    logging.getLogger("tvm").setLevel(logging.WARNING)
    return tvm


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """To import a TVM of either generation in: what has to be there before, and an empty folder.

    A Relay TVM makes ``.pkl_memoize_py3`` in the working folder as it is imported, and unpickles
    what it finds there: whoever wrote that file would run code here.

    Raises:
        MissingError: what has to be there cannot be made.
    """
    relay_threads.preload()
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="tvmkd-import-") as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def import_runtime() -> Any:
    """Imports TVM with its runtime only (no compiler library) and returns the ``tvm`` module.

    Of either generation; `register` and `new_tensor` bridge what differs.
    """
    without_torch()
    os.environ["TVM_USE_RUNTIME_LIB"] = "1"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with importing():
        import tvm
        import tvm.rpc

    if not hasattr(tvm, "register_global_func"):
        relay_shims.load_module_with_one_argument()

    # Upstream loads it only beside the compiler; it holds the random fill that measuring needs.
    extra = os.path.join(os.path.dirname(tvm.__file__), "lib", "libtvm_runtime_extra.so")
    if os.path.exists(extra):
        ctypes.CDLL(extra, ctypes.RTLD_GLOBAL)
    return tvm


def register(tvm: Any, name: str, function: Any) -> None:
    """Makes a Python function one of TVM's global ones, in place of one of that name."""
    put = getattr(tvm, "register_global_func", None) or tvm.register_func
    put(name, function, override=True)


def new_tensor(tvm: Any, value: Any, device: Any) -> Any:
    """A tensor on ``device``: a copy of an array, or an empty one of a ``(shape, dtype)``."""
    old = not hasattr(tvm.runtime, "tensor")
    if isinstance(value, tuple):
        return (tvm.nd if old else tvm.runtime).empty(*value, device)
    return tvm.nd.array(value, device) if old else tvm.runtime.tensor(value, device)
