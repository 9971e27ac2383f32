"""Links a model's large constants into its library as they are, to be read where they lie.

Relax's virtual machine keeps constants in its own file format inside the library and copies each of
them when the library is opened, so that they are in memory twice. Here ``main`` calls a function of
the library for each large constant, which returns a tensor header whose data is the mapped file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvmkd.base import elf
from tvmkd.stacks.relax.kernel_times import GETTER

LEAST = 1 << 16
"""Bytes. The call takes about 0.1 us, so that it does not pay for a small constant."""

_DATA, _TABLE = "tvmkd_constants", "tvmkd_constant_headers"
_CODES = {"f": 2, "i": 0, "u": 1}  # DLPack's, by numpy's kind
_CALLS = ("relax.call_tir", "relax.call_tir_inplace")
_IR = """target triple = "{triple}"
%Any = type {{ i32, i32, i64 }}
%Tensor = type {{ ptr, i32, i32, i32, i8, i8, i16, ptr, ptr, i64 }}
@{data} = external hidden global i8
{sizes}
@{table} = internal constant [{count} x %Tensor] [
{headers}
]
define i32 @__tvm_ffi_{getter}(ptr %self, ptr %args, i32 %count, ptr %result) {{
  %place = getelementptr inbounds %Any, ptr %args, i64 0, i32 2
  %number = load i64, ptr %place
  %header = getelementptr inbounds [{count} x %Tensor], ptr @{table}, i64 0, i64 %number
  store i32 7, ptr %result
  %value = getelementptr inbounds %Any, ptr %result, i64 0, i32 2
  store ptr %header, ptr %value
  ret i32 0
}}
"""  # 7: kTVMFFIDLTensorPtr


def can_link(target: tvm.target.Target) -> bool:
    """Whether a target's libraries can hold constants this way."""
    return target.kind.name == "llvm" and _machine(target) in elf.MACHINES


def _machine(target: tvm.target.Target) -> str:
    return str(target.attrs.get("mtriple", "")).split("-")[0]


def lift(mod: tvm.IRModule) -> tuple[tvm.IRModule, list[np.ndarray]]:
    """Replaces each large constant that a kernel of ``main`` reads by a call of the library.

    Args:
        mod: with ``call_tir`` of its kernels, before it is compiled for the virtual machine.

    Returns:
        the changed module, and the constants by their numbers; the module itself if there are none.
    """
    lifting = _Lift(mod)
    main = lifting.visit_expr(mod["main"])
    if not lifting.found:
        return mod, []
    changed = tvm.IRModule(dict(mod.functions.items()), attrs=mod.attrs)
    changed.update_func(mod.get_global_var("main"), main)
    return changed, list(lifting.found.values())


@mutator
class _Lift(PyExprMutator):  # type: ignore[misc]
    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__(mod)
        self.found: dict[Any, np.ndarray] = {}
        self._numbers: dict[Any, int] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        if name not in _CALLS or not isinstance(call.args[1], relax.Tuple):
            return super().visit_call_(call)
        given = relax.Tuple([self._read(arg) for arg in call.args[1].fields])
        rest = [self.visit_expr(arg) for arg in call.args[2:]]
        return relax.Call(call.op, [call.args[0], given, *rest], call.attrs, call.ty_args)

    def _read(self, arg: relax.Expr) -> relax.Expr:
        if not isinstance(arg, GenericConst):
            return self.visit_expr(arg)
        if arg not in self._numbers:
            array = _array(arg)
            if array is None:
                return self.visit_expr(arg)
            self._numbers[arg] = len(self.found)
            self.found[arg] = array
        number = relax.prim_value(self._numbers[arg])
        return self.builder_.emit(relax.op.call_pure_packed(GETTER, number, ty_args=arg.ty))


def _array(constant: GenericConst) -> np.ndarray | None:
    """The data of a constant that is linked, without a copy; None for other constants."""
    data = constant.value
    if not isinstance(data, tvm.runtime.Tensor):
        return None
    size = int(np.prod(data.shape, dtype=np.int64))
    try:
        dtype = np.dtype(str(data.dtype))
    except TypeError:  # bfloat16 and such: no dtype of numpy's
        return None
    if dtype.kind not in _CODES or size * dtype.itemsize < LEAST:
        return None
    array: np.ndarray = np.from_dlpack(data)
    return array


def write(
    arrays: Sequence[np.ndarray], target: tvm.target.Target, folder: Path
) -> tuple[Path, Path]:
    """Writes the object files that hold constants and the function that `lift` calls.

    Args:
        arrays: C-contiguous; see `lift`.
        target: one that `can_link`.
        folder: for the files.
    """
    data, code, text = folder / "constants.o", folder / "getter.o", folder / "getter.ll"
    parts = [array.reshape(-1).view(np.uint8).data for array in arrays]
    offsets = elf.write_data(data, _machine(target), _DATA, parts)
    sizes, headers = [], []
    for number, (array, offset) in enumerate(zip(arrays, offsets, strict=True)):
        steps = [step // array.itemsize for step in array.strides]
        rank = max(1, array.ndim)
        for name, values in (("shape", array.shape), ("strides", steps)):
            listed = ", ".join(f"i64 {value}" for value in values or (1,))
            sizes.append(f"@{name}{number} = internal constant [{rank} x i64] [{listed}]")
        headers.append(
            f"%Tensor {{ ptr getelementptr (i8, ptr @{_DATA}, i64 {offset}), i32 1, i32 0, "
            f"i32 {array.ndim}, i8 {_CODES[array.dtype.kind]}, i8 {array.itemsize * 8}, i16 1, "
            f"ptr @shape{number}, ptr @strides{number}, i64 0 }}"
        )
    text.write_text(
        _IR.format(
            triple=target.attrs["mtriple"],
            data=_DATA,
            table=_TABLE,
            getter=GETTER,
            count=len(arrays),
            sizes="\n".join(sizes),
            headers=",\n".join(headers),
        )
    )
    tvm.runtime.load_module(str(text)).write_to_file(str(code))
    return data, code
