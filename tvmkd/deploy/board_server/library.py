"""A standalone library through ctypes (tvmkd.h explains it), and the process of an instance."""

import ctypes
import json
import mmap
import os
import socket
import time
from typing import Any, Dict, List, Optional, Tuple

from .protocol import ANSWER, ASK, DTYPES


class TensorStruct(ctypes.Structure):
    """tvmkd_tensor."""

    _fields_ = [("name", ctypes.c_char_p), ("dtype", ctypes.c_char_p),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("ndim", ctypes.c_int32),
                ("bytes", ctypes.c_uint64)]  # fmt: skip


class OptionsStruct(ctypes.Structure):
    """tvmkd_options."""

    _fields_ = [("size", ctypes.c_uint32), ("threads", ctypes.c_int32),
                ("cpus", ctypes.POINTER(ctypes.c_int32)), ("cpu_count", ctypes.c_int32),
                ("spin_us", ctypes.c_int32)]  # fmt: skip


POINTERS = ctypes.POINTER(ctypes.c_void_p)
OPEN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(OptionsStruct), POINTERS)
RUN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, POINTERS, POINTERS)
UNTIL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, POINTERS, POINTERS, ctypes.c_int64,
                         ctypes.POINTER(ctypes.c_int32))  # fmt: skip
ERROR = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)
CLOSE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class LibraryStruct(ctypes.Structure):
    """tvmkd_library."""

    _fields_ = [("size", ctypes.c_uint32), ("api_version", ctypes.c_uint32),
                ("name", ctypes.c_char_p), ("target", ctypes.c_char_p),
                ("built_by", ctypes.c_char_p), ("digest", ctypes.c_char_p),
                ("inputs", ctypes.POINTER(TensorStruct)),
                ("outputs", ctypes.POINTER(TensorStruct)), ("input_count", ctypes.c_int32),
                ("output_count", ctypes.c_int32), ("weight_bytes", ctypes.c_uint64),
                ("arena_bytes", ctypes.c_uint64), ("exit_count", ctypes.c_int32), ("open", OPEN),
                ("run", RUN), ("run_until", UNTIL), ("last_error", ERROR),
                ("close", CLOSE)]  # fmt: skip


def text_of(value: Optional[bytes]) -> str:
    """A C string."""
    return (value or b"").decode("utf-8", "replace")


def layout(tensors: Any, count: int, place: int) -> Tuple[List[Dict[str, Any]], int]:
    """Descriptions of tensors, laid out from ``place`` at multiples of 64; and the end."""
    found = []
    for tensor in tensors[:count]:
        name, shape = text_of(tensor.dtype), [tensor.shape[i] for i in range(tensor.ndim)]
        if name not in DTYPES:
            raise ValueError("it has a tensor of type %s, which the protocol lacks" % name)
        protocol, letter, size = DTYPES[name]
        found.append({"name": text_of(tensor.name), "datatype": protocol, "letter": letter,
                      "shape": shape, "bytes": tensor.bytes, "place": place,
                      "count": tensor.bytes // size})  # fmt: skip
        place += (tensor.bytes + 63) // 64 * 64
    return found, place


def open_library(path: str) -> LibraryStruct:
    """Opens a library.

    Raises:
        OSError, AttributeError, ValueError: it is no standalone library.
    """
    entry = ctypes.CDLL(os.path.abspath(path)).tvmkd_library_v1
    entry.restype = ctypes.POINTER(LibraryStruct)
    library: LibraryStruct = entry().contents
    if library.api_version != 1:
        raise ValueError("it has version %d of the interface" % library.api_version)
    return library


def run_instance(path: str, control: socket.socket, memory: int, threads: int) -> None:
    """The process of an instance: opens the library, describes it, runs it when asked."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: also while it runs
    try:
        library = open_library(path)
        inputs, end = layout(library.inputs, library.input_count, 0)
        outputs, end = layout(library.outputs, library.output_count, end)
        os.ftruncate(memory, max(end, 64))
        shared = mmap.mmap(memory, max(end, 64))
        base = ctypes.addressof(ctypes.c_char.from_buffer(shared))
        given = (ctypes.c_void_p * (len(inputs) + 1))(*[base + each["place"] for each in inputs])
        taken = (ctypes.c_void_p * (len(outputs) + 1))(*[base + each["place"] for each in outputs])
        options = OptionsStruct(ctypes.sizeof(OptionsStruct), threads, None, 0, 0)
        handle = ctypes.c_void_p()
        if library.open(ctypes.byref(options), ctypes.byref(handle)):
            raise ValueError("cannot be opened: " + text_of(library.last_error(None)))
        library.run(handle, given, taken)
        start = time.perf_counter()
        failed = library.run(handle, given, taken)
        run_s = 0.0 if failed else time.perf_counter() - start
    except (OSError, AttributeError, ValueError) as error:
        control.send(b"f" + ("%s: %s" % (path, error)).encode())
        return
    control.send(b"r" + json.dumps({
        "inputs": inputs, "outputs": outputs, "size": max(end, 64), "run_s": run_s,
        "exits": library.exit_count, "target": text_of(library.target),
        "name": text_of(library.name), "built_by": text_of(library.built_by),
        "onnx_sha256": text_of(library.digest)}).encode())  # fmt: skip
    exit_taken = ctypes.c_int32()
    while True:
        message = control.recv(ASK.size)
        if len(message) < ASK.size or os.getppid() != parent:
            return
        (deadline,) = ASK.unpack(message)
        begun = time.monotonic()
        if library.exit_count > 1:
            until = int(deadline * 1e9) if deadline else 2**63 - 1
            code = library.run_until(handle, given, taken, until, ctypes.byref(exit_taken))
        else:
            code = library.run(handle, given, taken)
        ended = time.monotonic()
        why = library.last_error(handle)[:1000] if code else b""
        control.send(ANSWER.pack(b"a", code, exit_taken.value, begun, ended) + why)
