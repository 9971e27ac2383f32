"""Reads a fused Relax module as a straight line of kernel calls, for a standalone library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvmkd.base.errors import InputError
from tvmkd.stacks.standalone.exits import COPY, in_parts, moved
from tvmkd.stacks.standalone.graph import Call, Graph, Place, Storage, Tensor

Value = Tensor | tuple["Value", ...]


def prepare(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Makes kernels of what TVM's own pipeline compiles last: sorting and sums along an axis."""
    with target:
        passes = [relax.backend.DispatchSortScan(), relax.transform.LegalizeOps()]
        return tvm.transform.Sequential(passes)(mod)


def read(
    mod: tvm.IRModule, name: str, target: tvm.target.Target, prefix: str, *, exits: bool = False
) -> Graph:
    """The calls of ``main``.

    Args:
        mod: fused and put into schedule, with ``call_tir`` of its kernels.
        name: the model's, for messages.
        target: what it is compiled for.
        prefix: what comes before a kernel's name in its symbol.
        exits: the outputs are those of early exits: see `tvmkd.stacks.standalone.exits`.

    Raises:
        InputError: something in it is no kernel on tensors of fixed sizes.
    """
    passes = relax.transform
    with target:
        mod = tvm.transform.Sequential(
            [
                passes.RewriteDataflowReshape(),
                passes.ToNonDataflow(),
                passes.RemovePurityChecking(),
                passes.CallTIRRewrite(),
            ]
        )(mod)
    return _Reader(name, prefix).read(mod["main"], exits)


class _Reader:
    def __init__(self, name: str, prefix: str) -> None:
        self._name, self._prefix = name, prefix
        self._values: dict[Any, Value] = {}
        self._constants: list[np.ndarray] = []
        self._known: dict[Any, Tensor] = {}
        self._calls: list[Call] = []
        self._pieces = 0

    def read(self, main: relax.Function, exits: bool) -> Graph:
        for number, param in enumerate(main.params):
            tensor = self._tensor(param.ty, Place.INPUT, number)
            self._values[param] = tensor
        body = main.body
        if not isinstance(body, relax.SeqExpr):
            raise self._refusal("its main function is no sequence")
        for block in body.blocks:
            for binding in block.bindings:
                if not isinstance(binding, relax.VarBinding):
                    raise self._refusal("it checks shapes while it runs")
                value = self._visit(binding.value)
                if value is not None:
                    self._values[binding.var] = value
        outputs = _flat(self._value(body.body))
        if exits:
            calls, ends = in_parts(self._calls, outputs)
            return Graph(calls, tuple(self._constants), ends)
        self._give_back(outputs)
        return Graph(tuple(self._calls), tuple(self._constants), (len(self._calls),))

    def _refusal(self, why: str) -> InputError:
        return InputError(
            f"{self._name}: cannot be a standalone library: {why}; build it without "
            "--runtime standalone"
        )

    def _visit(self, expr: Any) -> Value | None:
        if not isinstance(expr, relax.Call):
            return self._value(expr)
        if isinstance(expr.op, tvm.ir.GlobalVar):
            self._kernel(expr.op.name_hint, expr.args)
            return None
        name = getattr(expr.op, "name", type(expr.op).__name__)
        if name == "relax.builtin.alloc_tensor":
            self._pieces += 1
            return self._tensor(expr.ty, Place.ARENA, self._pieces)
        if name == "relax.reshape":
            given = self._value(expr.args[0])
            assert isinstance(given, Tensor)
            return Tensor(given.storage, self._shape(expr.ty), given.dtype)
        if isinstance(expr.op, relax.ExternFunc):
            raise self._refusal(f"it calls {expr.op.global_symbol}, which is in TVM's runtime")
        raise self._refusal(f"{name} is left to TVM's virtual machine")

    def _kernel(self, name: str, args: Sequence[Any]) -> None:
        given = tuple(tensor for arg in args for tensor in _flat(self._value(arg)))
        self._calls.append(Call(name, self._prefix + name, given))

    def _value(self, expr: Any) -> Value:
        if isinstance(expr, GenericConst):
            return self._constant(expr)
        if isinstance(expr, relax.Tuple):
            return tuple(self._value(each) for each in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            whole = self._value(expr.tuple_value)
            assert isinstance(whole, tuple)
            return whole[int(expr.index)]
        if expr in self._values:
            return self._values[expr]
        kind = "a branch" if isinstance(expr, relax.If) else type(expr).__name__
        raise self._refusal(f"{kind} is left to TVM's virtual machine")

    def _constant(self, constant: GenericConst) -> Tensor:
        if constant not in self._known:
            array = np.ascontiguousarray(_array(constant))
            storage = Storage(Place.CONSTANTS, len(self._constants), array.nbytes)
            self._constants.append(array)
            self._known[constant] = Tensor(storage, array.shape, array.dtype)
        return self._known[constant]

    def _shape(self, ty: Any) -> tuple[int, ...]:
        sizes = getattr(getattr(ty, "shape", None), "values", None)
        if sizes is None or not all(isinstance(size, int | tvm.tirx.IntImm) for size in sizes):
            raise self._refusal("the shape of a tensor depends on the data")
        return tuple(int(size) for size in sizes)

    def _tensor(self, ty: Any, place: Place, number: int) -> Tensor:
        shape = self._shape(ty)
        try:
            dtype = np.dtype(str(ty.dtype))
        except TypeError:
            raise self._refusal(f"it has tensors of the type {ty.dtype}") from None
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return Tensor(Storage(place, number, size), shape, dtype)

    def _give_back(self, outputs: Sequence[Tensor]) -> None:
        """Lets the kernels write the outputs where the caller wants them, or copies them there."""
        places: dict[Storage, Storage] = {}
        copies = []
        for number, tensor in enumerate(outputs):
            storage = tensor.storage
            there = Storage(Place.OUTPUT, number, storage.size)
            if storage.place is Place.ARENA and storage not in places:
                places[storage] = there
            else:
                copies.append(
                    Call("copy", COPY, (tensor, Tensor(there, tensor.shape, tensor.dtype)))
                )
        calls = [*self._calls, *copies]
        self._calls = [moved(call, places) for call in calls]


def _flat(value: Value) -> tuple[Tensor, ...]:
    if isinstance(value, Tensor):
        return (value,)
    return tuple(tensor for each in value for tensor in _flat(each))


def _array(constant: GenericConst) -> np.ndarray:
    data = constant.value
    array: np.ndarray = np.from_dlpack(data)
    return array
