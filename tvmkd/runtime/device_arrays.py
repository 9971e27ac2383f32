"""Arrays in the memory of an NVIDIA GPU, of whatever library: where they lie, by DLPack.

https://dmlc.github.io/dlpack/latest/python_spec.html
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvmkd.base.errors import InputError
from tvmkd.base.text import listing, sizes
from tvmkd.runtime.program import Spec

CUDA, CUDA_MANAGED = 2, 13
"""``DLDeviceType``."""
LEGACY = 1
"""The legacy default stream, as ``__dlpack__`` calls it."""
_KINDS = {0: "int", 1: "uint", 2: "float", 6: "bool"}  # DLDataTypeCode


class _Tensor(ctypes.Structure):
    """``DLTensor``, which a ``DLManagedTensor`` begins with."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


@dataclass(frozen=True)
class DeviceArray:
    """Where an array lies. The memory is its owner's and stays valid as long as the owner is.

    Attributes:
        address: of the first element, in the GPU's memory.
        shape, dtype: numpy's name of the type.
        device: the number of the GPU.
        contiguous: in C's order, without gaps.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    device: int
    contiguous: bool


def on_gpu(array: Any) -> bool:
    """Whether an array is a DLPack one in the memory of an NVIDIA GPU."""
    ask = getattr(array, "__dlpack_device__", None)
    return ask is not None and int(ask()[0]) in (CUDA, CUDA_MANAGED)


def look(array: Any, stream: int = 0) -> DeviceArray:
    """Where an array on a GPU lies; its owner's work on it comes first in ``stream``.

    Args:
        array: see `on_gpu`.
        stream: a ``cudaStream_t`` as a number; 0: the default stream.

    Raises:
        InputError: its owner does not export it, as torch a tensor with a gradient.
    """
    try:
        capsule = array.__dlpack__(stream=stream or LEGACY)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"an array on the GPU cannot be used (DLPack): {first}") from None
    # The capsule is not taken over: it goes at the end of this function, and the owner keeps the
    # memory.
    tensor = _Tensor.from_address(_pointer(capsule, b"dltensor"))
    shape = tuple(tensor.shape[: tensor.ndim])
    steps = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    return DeviceArray(
        address=(tensor.data or 0) + tensor.byte_offset,
        shape=shape,
        dtype=_name(tensor),
        device=tensor.device_id,
        contiguous=steps is None or _contiguous(shape, steps),
    )


def _name(tensor: _Tensor) -> str:
    kind = _KINDS.get(tensor.code)
    if kind is None or tensor.lanes != 1:
        return f"DLPack type {tensor.code} of {tensor.bits} bits"
    return kind if kind == "bool" else f"{kind}{tensor.bits}"


def _contiguous(shape: Sequence[int], steps: Sequence[int]) -> bool:
    if 0 in shape:
        return True
    wanted = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return all(
        size == 1 or step == want for size, step, want in zip(shape, steps, wanted, strict=True)
    )


def addresses(what: str, specs: Sequence[Spec], arrays: Sequence[Any], stream: int) -> list[int]:
    """Where arrays on the first GPU lie, which are what a model expects.

    Args:
        what: they are, for messages: ``artifact net: input``.
        specs: name, shape and dtype of each.
        arrays: of any library with DLPack.
        stream: see `look`.

    Raises:
        InputError: one of them is somewhere else, or does not fit.
    """
    if len(arrays) != len(specs):
        names = listing(spec.name for spec in specs)
        raise InputError(f"{what}s: there are {len(specs)} ({names}), got {len(arrays)}")
    found = []
    for spec, array in zip(specs, arrays, strict=True):
        where = f'{what} "{spec.name}"'
        if not on_gpu(array):
            raise InputError(f"{where}: expects an array on the GPU, as the others are")
        there = look(array, stream)
        if there.device != 0:
            raise InputError(
                f"{where}: lies on GPU {there.device}, and the artifact runs on GPU 0 "
                "(CUDA_VISIBLE_DEVICES chooses which that is)"
            )
        if not there.contiguous:
            raise InputError(f"{where}: has gaps or another order of axes; make it contiguous")
        if (there.shape, there.dtype) != (tuple(spec.shape), spec.dtype):
            raise InputError(
                f"{where}: expects {spec.dtype} {sizes(spec.shape)}, got {there.dtype} "
                f"{sizes(there.shape)}"
            )
        found.append(there.address)
    return found


@dataclass(frozen=True)
class Library:
    """What an array library is asked for.

    Attributes:
        stream: the stream that it works in now on the GPU of an array, as a number.
        empty: a new array beside the given one, of a shape and a dtype.
    """

    stream: Callable[[Any], int]
    empty: Callable[[Any, Sequence[int], str], Any]


def _torch() -> Library:
    import torch

    return Library(
        stream=lambda array: int(torch.cuda.current_stream(array.device).cuda_stream),
        empty=lambda array, shape, dtype: torch.empty(
            tuple(shape), dtype=getattr(torch, dtype), device=array.device
        ),
    )


def _cupy() -> Library:
    cupy = sys.modules["cupy"]
    return Library(
        stream=lambda array: int(cupy.cuda.get_current_stream().ptr),
        empty=lambda array, shape, dtype: cupy.empty(tuple(shape), dtype),
    )


_LIBRARIES = {"torch": _torch, "cupy": _cupy}


def library_of(array: Any) -> Library:
    """The library of an array.

    Raises:
        InputError: it is none that tvmkd can ask for arrays.
    """
    name = type(array).__module__.partition(".")[0]
    if name not in _LIBRARIES:
        raise InputError(
            f"arrays of {name or 'this kind'} on the GPU: tvmkd makes outputs with "
            f"{' and '.join(_LIBRARIES)} only; give some: model.enqueue(inputs, outputs, stream)"
        )
    return _LIBRARIES[name]()
