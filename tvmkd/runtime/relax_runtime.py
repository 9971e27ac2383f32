"""TVM's runtime for Relax libraries by its FFI alone.

Importing the package ``tvm`` takes a second and 150 MB: operators, schedules and passes, none of
which a compiled library needs. A process that has imported it anyway uses the same runtime.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.runtime.tvm_process import kept_out, load_extra_of

if TYPE_CHECKING:
    from tvmkd.runtime.program import Array

RUNTIME = "libtvm_runtime.so"
"""The virtual machine."""
CPU, POOLED = 1, 2
"""The numbers of a kind of device and of an allocator in ``tvm.runtime.vm``."""


@functools.cache
def load() -> Any:
    """Loads TVM's runtime into this process, and returns the module ``tvm_ffi``.

    Raises:
        ImportError: TVM is not installed.
    """
    # tvm_ffi imports both where they are installed, to take their CUDA streams.
    with kept_out("torch", "cuda.bindings"):
        import tvm_ffi
    found = importlib.util.find_spec("tvm")
    if found is None or found.origin is None:
        raise ImportError("no module named 'tvm'")
    package = os.path.dirname(found.origin)
    ctypes.CDLL(os.path.join(package, "lib", RUNTIME), ctypes.RTLD_GLOBAL)
    load_extra_of(package)
    return tvm_ffi


def machine(library: Path) -> Any:
    """A virtual machine with a library's functions, which run on the CPU.

    Its functions are valid as long as it is.
    """
    made = load().load_module(os.fspath(library))["vm_load_executable"]()
    made["vm_initialization"](CPU, 0, POOLED)
    return made


def tensor(array: Array) -> Any:
    """A TVM tensor with the values of an array of any dtype that TVM has, in memory of its own."""
    import numpy as np

    ffi = load()
    plain = np.asarray(array, order="C")
    made = ffi.get_global_func("runtime.TVMTensorAllocWithScope")(
        ffi.Shape(plain.shape), ffi.dtype(str(plain.dtype)), ffi.device("cpu", 0), None
    )
    ffi.get_global_func("runtime.TVMTensorCopyFromBytes")(made, _address(plain), plain.nbytes)
    return made


def array_of(output: Any) -> Array:
    """A TVM tensor as an array; without a copy where possible, since nothing else uses it."""
    import numpy as np

    try:
        array: Array = np.from_dlpack(output)
        return array if array.flags.writeable else array.copy()
    except (TypeError, ValueError, BufferError, RuntimeError):  # bfloat16, an empty tensor
        copied = np.empty(output.shape, _numpy_type(str(output.dtype)))
        copy = load().get_global_func("runtime.TVMTensorCopyToBytes")
        copy(output, _address(copied), copied.nbytes)
        return copied


def _numpy_type(name: str) -> Any:
    import numpy as np

    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return getattr(ml_dtypes, name)


def outputs_of(result: Any) -> list[Array]:
    """What ``main`` returned, a tensor or several of them, as arrays."""
    several = [result] if isinstance(result, load().Tensor) else list(result)
    return [array_of(each) for each in several]


def _address(array: Array) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
