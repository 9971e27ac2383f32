"""``sort.c`` against numpy, under gcc's sanitizer of undefined behaviour."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmkd.runtime.standalone_program import NATIVE

KINDS = ["float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "uint64"]
CODES = {"i": 0, "u": 1, "f": 2}


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


class Argument(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("padding", ctypes.c_int32), ("value", ctypes.c_uint64)]


class Sorter:
    """Calls the functions as kernels do: looked up once, then called through the pointer."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(os.fspath(path))
        names = ("__TVMFFIEnvModLookupFromImports", "__TVMFFIFunctionCall")
        found = [ctypes.c_void_p.in_dll(library, name).value for name in names]
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
        )
        self._find, self._call = (kind(address) for address in found)
        self._reason = ctypes.c_char_p.in_dll(library, "reason")

    def __call__(self, name: str, *values: Any) -> None:
        self._kept: list[Any] = []
        handle = ctypes.c_void_p()
        given = (Argument * len(values))(*map(self._argument, values))
        where = ctypes.addressof(handle)
        if self._find(None, name.encode(), where, None):
            raise LookupError(self._reason.value)
        if self._call(handle, ctypes.addressof(given), len(values), None):
            raise ValueError((self._reason.value or b"").decode())

    def _argument(self, value: Any) -> Argument:
        if isinstance(value, np.ndarray):
            shape = (ctypes.c_int64 * value.ndim)(*value.shape)
            tensor = DLTensor(
                value.ctypes.data, (1, 0), value.ndim, CODES.get(value.dtype.kind, 6),
                value.itemsize * 8, 1, ctypes.addressof(shape),
            )  # fmt: skip
            self._kept += [shape, tensor]
            return Argument(7, 0, ctypes.addressof(tensor))
        if isinstance(value, str):
            text = ctypes.create_string_buffer(value.encode())
            self._kept.append(text)
            return Argument(8, 0, ctypes.addressof(text))
        return Argument(1, 0, value & (1 << 64) - 1)


@pytest.fixture(scope="module")
def sorter(tmp_path_factory: pytest.TempPathFactory) -> Sorter:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: apt install gcc")
    folder = tmp_path_factory.mktemp("sort")
    stub = folder / "stub.c"
    stub.write_text(
        "const char *reason;\n"
        "void TVMFFIErrorSetRaisedFromCStrParts(const char *k, const char **p, int n)"
        " { (void)k, (void)n; reason = p[0]; }\n"
    )
    # -Bsymbolic: this process may have loaded TVM's library, which has the stub's function too.
    words = ["gcc", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-O1", "-fsanitize=undefined"]
    words += ["-fno-sanitize-recover=all"]
    words += [f"-I{NATIVE}", os.fspath(NATIVE / "sort.c"), os.fspath(stub)]
    subprocess.run([*words, "-o", os.fspath(folder / "sort.so")], check=True)
    return Sorter(folder / "sort.so")


def drawn(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Many are equal; floats have infinities and NaN."""
    rng = np.random.default_rng(len(shape) + np.dtype(dtype).num)
    low = 0 if np.dtype(dtype).kind == "u" else -9
    found = rng.integers(low, 9, shape).astype(dtype)
    if found.dtype.kind == "f":
        flat = found.reshape(-1)
        flat[::7], flat[3::11], flat[5::13] = np.inf, np.nan, -np.inf
        flat[2::17] /= 3
    else:
        info = np.iinfo(dtype)
        found.reshape(-1)[::9], found.reshape(-1)[4::9] = info.max, info.min
    return found


def order(x: np.ndarray, axis: int, ascending: bool) -> np.ndarray:
    """Stable, with NaN as the largest."""
    ranks = np.unique(x, return_inverse=True, equal_nan=True)[1].reshape(x.shape)
    return np.argsort(ranks if ascending else -ranks, axis=axis, kind="stable")


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((1,), 0), ((41,), 0), ((3, 29, 2), 1), ((4, 25), -1)])
@pytest.mark.parametrize("dtype", KINDS)
def test_against_numpy(
    sorter: Sorter, dtype: str, shape: tuple[int, ...], axis: int, ascending: bool
) -> None:
    x = drawn(dtype, shape)
    numbers = order(x, axis, ascending)
    values = np.take_along_axis(x, numbers, axis)
    got, sorted_values = np.empty(shape, np.int32), np.empty_like(x)
    sorter("tvm.contrib.sort.argsort", x, got, axis, ascending)
    np.testing.assert_array_equal(got, numbers)
    sorter("tvm.contrib.sort.sort", x, sorted_values, axis, ascending)
    np.testing.assert_array_equal(sorted_values, values)
    for k in {1, (x.shape[axis] + 1) // 2, x.shape[axis]}:
        best = np.take(numbers, range(k), axis)
        for kind in ("both", "indices", "values"):
            out = np.empty(best.shape, dtype), np.empty(best.shape, np.int64)
            asked = {"both": out, "indices": out[1:], "values": out[:1]}[kind]
            sorter("tvm.contrib.sort.topk", x, *asked, k, axis, kind, ascending)
            if kind != "values":
                np.testing.assert_array_equal(out[1], best)
            if kind != "indices":
                np.testing.assert_array_equal(out[0], np.take_along_axis(x, best, axis))


def test_what_it_does_not_do(sorter: Sorter) -> None:
    x = np.ones(4, np.float32)
    with pytest.raises(ValueError, match="must be int32 or int64"):
        sorter("tvm.contrib.sort.argsort", x, np.empty(4, np.float32), 0, 1)
    with pytest.raises(ValueError, match="cannot be compared"):
        sorter("tvm.contrib.sort.sort", np.ones(4, bool), np.empty(4, bool), 0, 1)
    with pytest.raises(LookupError, match=r"tvm\.contrib\.random\.uniform"):
        sorter("tvm.contrib.random.uniform", x)
