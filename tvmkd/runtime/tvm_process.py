"""Imports TVM in a worker process so that the import is small, fast and quiet.

The command line never imports TVM.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.abc
import importlib.machinery
import inspect
import logging
import os
import sys
import tempfile
import types
from collections.abc import Collection, Iterator
from typing import Any

from tvmkd.runtime import relay_shims, relay_threads


class _KeptOut(importlib.abc.MetaPathFinder):
    # Not ``sys.modules["torch"] = None``: scipy, which xgboost imports, would use the None as a
    # module.
    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(names)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname in self.names:
            raise ModuleNotFoundError(f"{fullname} is kept out of this import", name=fullname)


def without_torch() -> None:
    """Makes ``import torch`` fail in this process.

    ``tvm_ffi`` imports torch if it is installed: 500 MB and several seconds in every process that
    only compiles or times a kernel.
    """
    if not any(isinstance(finder, _KeptOut) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KeptOut({"torch"}))


@contextlib.contextmanager
def kept_out(*names: str) -> Iterator[None]:
    """Inside the block importing these modules fails; the process may do it later.

    Those that are imported already stay.
    """
    finder = _KeptOut(set(names).difference(sys.modules))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _AtFirstUse(importlib.abc.Loader):
    """Executes a module when an attribute of it is first read.

    Not `importlib.util.LazyLoader`: there reading ``__file__`` is a use, and ``inspect.getmodule``
    reads that of every module.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        def read(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            del module.__dict__["__getattr__"]
            with light_stack():
                self._loader.exec_module(module)
            return getattr(module, name)

        module.__dict__["__getattr__"] = read


INTRINSICS = "tvm.s_tir.tensor_intrin"
CPUS = ("arm_cpu", "x86")


class _Deferred(importlib.abc.MetaPathFinder):
    """Finds slow modules that most processes never use.

    Args:
        names: of the modules.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _AtFirstUse(spec.loader)
        return spec


def defer(*names: str) -> None:
    """Executes these modules when an attribute of them is first read, not when they are imported.

    A module that is already imported stays as it is.
    """
    sys.meta_path.insert(0, _Deferred(names))


def register_intrinsics(gpu: bool = False) -> None:
    """Registers the tensor intrinsics of CPUs, which upstream's search rules name for some targets.

    Reading any attribute executes the deferred module; an executed one is left alone.

    Args:
        gpu: those of NVIDIA GPUs, too: their rules name tensor cores from sm_75 on.
    """
    for device in (*CPUS, "cuda") if gpu else CPUS:
        module = importlib.import_module(f"{INTRINSICS}.{device}")
        getattr(module, "TensorIntrin", None)


@contextlib.contextmanager
def _names_listed_once() -> Iterator[None]:
    """Inside the block TVM's global functions are listed again only if their number has changed.

    Each of its fifty modules of bindings lists all 5,000 names when it is imported.
    """
    import tvm_ffi.registry

    real = tvm_ffi.registry.list_global_func_names
    names: list[str] = []

    def listed() -> list[str]:
        count = tvm_ffi.get_global_func("ffi.FunctionListGlobalNamesFunctor")()(-1)
        if count != len(names):
            names[:] = real()
        return list(names)

    tvm_ffi.registry.list_global_func_names = listed
    try:
        yield
    finally:
        tvm_ffi.registry.list_global_func_names = real


@contextlib.contextmanager
def light_stack() -> Iterator[None]:
    """Inside the block ``inspect.stack`` reads no source files.

    ``tvm.s_tir.tensor_intrin`` parses hundreds of TVMScript functions when it is imported, and each
    requests the stack with its source lines, which takes most of the import's time.
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
    """Imports TVM with MetaSchedule, and returns the ``tvm`` module.

    The tensor intrinsics take most of upstream's import. Those of CPUs are registered by
    `register_intrinsics`, those of other devices when an attribute of their module is first read.
    """
    without_torch()
    if INTRINSICS not in sys.modules:
        devices = (*CPUS, "cuda", "dot_product_common", "hexagon", "riscv_cpu", "rocm")
        defer(*(f"{INTRINSICS}.{device}" for device in devices))
    # One OpenBLAS thread: numpy must not start its thread pool before this process forks.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with light_stack(), _names_listed_once():
        import tvm
        import tvm.s_tir.meta_schedule
        import tvm.s_tir.tensor_intrin
    _take_types_as_given(tvm.s_tir.Schedule)
    logging.getLogger("tvm").setLevel(logging.WARNING)
    return tvm


def _take_types_as_given(schedule: type) -> None:
    """Removes the checks of argument types from a class's methods: half of a template's time."""
    for name, method in list(vars(schedule).items()):
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:
            setattr(schedule, name, plain)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Prepares the import of a TVM of either generation, in an empty working folder.

    A Relay TVM unpickles the files in ``.pkl_memoize_py3`` of the working folder when it is
    imported, so a file that somebody put there would run code in this process.

    Raises:
        MissingError: a library that this TVM needs cannot be compiled.
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
    """Imports TVM without its compiler library, and returns the ``tvm`` module.

    It works with both generations; `register` and `new_tensor` hide their differences.
    """
    without_torch()
    os.environ["TVM_USE_RUNTIME_LIB"] = "1"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with importing():
        import tvm
        import tvm.rpc

    if not hasattr(tvm, "register_global_func"):
        relay_shims.load_module_with_one_argument()

    load_extra(tvm)
    return tvm


def load_extra(tvm: Any) -> None:
    """Loads the functions that kernels call: sorting, the best k, random numbers.

    Upstream does it only together with the compiler.
    """
    load_extra_of(os.path.dirname(tvm.__file__))


def load_extra_of(package: str) -> None:
    """As `load_extra`, for the folder of the package ``tvm``, which need not be imported."""
    extra = os.path.join(package, "lib", "libtvm_runtime_extra.so")
    if os.path.exists(extra):
        ctypes.CDLL(extra, ctypes.RTLD_GLOBAL)


def register(tvm: Any, name: str, function: Any) -> None:
    """Registers a Python function as a global function of TVM; replaces one of the same name."""
    put = getattr(tvm, "register_global_func", None) or tvm.register_func
    put(name, function, override=True)


def new_tensor(tvm: Any, value: Any, device: Any) -> Any:
    """A tensor on ``device``: a copy of an array, or an empty one for a ``(shape, dtype)``."""
    old = not hasattr(tvm.runtime, "tensor")
    if isinstance(value, tuple):
        return (tvm.nd if old else tvm.runtime).empty(*value, device)
    return tvm.nd.array(value, device) if old else tvm.runtime.tensor(value, device)
