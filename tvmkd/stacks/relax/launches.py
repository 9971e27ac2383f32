"""Compiles GPU kernels to PTX, and reads how each is launched from its lowered host code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from tvm import tirx

from tvmkd.base.errors import InputError
from tvmkd.stacks.relax import node_names, tensor_cores
from tvmkd.stacks.relax.node_names import Named
from tvmkd.stacks.standalone.cuda_source import Launch
from tvmkd.stacks.standalone.graph import Call, Graph, Place, Storage, Tensor

Refuse = Callable[[str], InputError]
"""Makes the error that says why a model cannot be a standalone library."""

_AXES = ("blockIdx.x", "blockIdx.y", "blockIdx.z", "threadIdx.x", "threadIdx.y", "threadIdx.z")
_SHARED = "tirx.use_dyn_shared_memory"
_PIECES = 1_000_000  # numbers of pieces of the arena that host code takes; others begin at 1


@tvm.instrument.pass_instrument
class _HostCode:
    """A pass instrument that keeps the host functions while their launches can be read."""

    def __init__(self) -> None:
        self.functions: dict[str, tirx.PrimFunc] = {}

    def run_after_pass(self, mod: tvm.IRModule, info: tvm.ir.transform.PassInfo) -> None:
        if info.name == "tirx.SplitHostDevice":
            self.functions = {name.name_hint: found for name, found in mod.functions.items()}


def compile_kernels(
    mod: tvm.IRModule, names: set[str], target: tvm.target.Target
) -> tuple[str, Mapping[str, tirx.PrimFunc]]:
    """Compiles kernels with TVM, NVRTC and ptxas (see `tvmkd.runtime.nvrtc.install`).

    Args:
        mod: scheduled.
        names: of the kernels in it.
        target: a CUDA target.

    Returns:
        the PTX of all kernels, and the host function of each by its name.
    """
    functions = {
        var: function.with_attr("global_symbol", var.name_hint)
        for var, function in mod.functions.items()
        if var.name_hint in names
    }
    host = _HostCode()
    kernels = tvm.IRModule(functions)
    with tensor_cores.compiling(kernels), target, tvm.transform.PassContext(instruments=[host]):
        library = tirx.build(kernels, target=target)
    text: str = library.imports[0].inspect_source()
    return text, host.functions


def launched(
    graph: Graph, host: Mapping[str, tirx.PrimFunc], refuse: Refuse, nodes: Named = ()
) -> Graph:
    """The graph with every kernel replaced by its launches.

    Args:
        graph: of calls of kernels, and copies.
        host: the host function of each kernel, by its name.
        refuse: makes the error.
        nodes: the ONNX nodes of each kernel, as far as they are known.

    Raises:
        InputError: a kernel's host code does more than to launch GPU functions of fixed sizes.
    """
    pieces = itertools.count(_PIECES)
    calls: list[Call] = []
    computed = node_names.along([call.kernel for call in graph.calls], nodes)
    for call, names in zip(graph.calls, computed, strict=True):
        if call.kernel not in host:
            calls.append(call)
            continue

        def refused(why: str, kernel: str = call.kernel) -> InputError:
            return refuse(f"the kernel {kernel} {why}")

        first, *others = _HostFunction(host[call.kernel], call, pieces, refused).launches()
        calls += [replace(first, label=_label(call.kernel, names)), *others]
    return replace(graph, calls=tuple(calls), ends=(len(calls),))


def _label(kernel: str, nodes: Sequence[str]) -> str:
    return f"{kernel}: {', '.join(nodes)}" if nodes else kernel


class _HostFunction:
    def __init__(
        self, function: tirx.PrimFunc, call: Call, pieces: itertools.count[int], refuse: Refuse
    ) -> None:
        self._body, self._refuse, self._pieces = function.body, refuse, pieces
        self._buffers: list[tuple[Any, Tensor]] = list(
            zip(function.params, call.arguments, strict=True)
        )

    def launches(self) -> list[Launch]:
        found = []
        for step in _steps(self._body):
            if isinstance(step, tirx.AllocBuffer):
                self._buffers.append((step.buffer, self._piece(step.buffer)))
            elif isinstance(step, tirx.DeclBuffer):
                self._buffers.append((step.buffer, self._tensor(step.data)))
            elif _is(getattr(step, "value", None), "tirx.call_ffi_kernel"):
                found.append(self._launch(step.value))
            else:
                raise self._refuse("computes on the CPU between its GPU functions")
        return found

    def _piece(self, buffer: Any) -> Tensor:
        """Device memory that the host code takes for the time of its launches."""
        shape = tuple(self._number(size) for size in buffer.shape)
        dtype = np.dtype(str(buffer.dtype))
        size = math.prod(shape) * dtype.itemsize
        return Tensor(Storage(Place.ARENA, next(self._pieces), size), shape, dtype)

    def _tensor(self, expr: Any) -> Tensor:
        if _is(expr, "tirx.buffer_data"):
            for buffer, tensor in self._buffers:
                if buffer.same_as(expr.args[0]):
                    return tensor
        raise self._refuse("gets a pointer that the CPU computes")

    def _parameter(self, expr: Any) -> Tensor | int:
        """What a GPU function gets: memory or a number."""
        if _is(expr, "tirx.buffer_data"):
            return self._tensor(expr)
        if isinstance(expr, tirx.IntImm):
            return int(expr.value)
        # Tensors of a graph begin where their memory does.
        if any(expr.same_as(buffer.elem_offset) for buffer, _ in self._buffers):
            return 0
        raise self._refuse("gets a number that the CPU computes")

    def _number(self, expr: Any) -> int:
        if isinstance(expr, tirx.IntImm):
            return int(expr.value)
        raise self._refuse("has a grid or a buffer whose size the CPU computes")

    def _launch(self, call: Any) -> Launch:
        name, *given = call.args
        tags = [str(tag) for tag in call.attrs.launch_params]
        count = len(given) - len(tags)
        sizes = {tag: self._number(size) for tag, size in zip(tags, given[count:], strict=True)}
        unknown = sorted(set(sizes) - {*_AXES, _SHARED})
        if unknown:
            raise self._refuse(f"is launched by {unknown[0]}, which older GPUs lack")
        axes = [sizes.get(axis, 1) for axis in _AXES]
        parameters = tuple(self._parameter(each) for each in given[:count])
        return Launch(
            kernel=name.value,
            symbol=name.value,
            arguments=tuple(each for each in parameters if isinstance(each, Tensor)),
            parameters=parameters,
            grid=(axes[0], axes[1], axes[2]),
            block=(axes[3], axes[4], axes[5]),
            shared=sizes.get(_SHARED, 0),
        )


def _steps(body: Any) -> Iterator[Any]:
    """The statements of host code in order."""
    if isinstance(body, tirx.SeqStmt):
        for step in body.seq:
            yield from _steps(step)
    elif isinstance(body, tirx.AttrStmt):  # a hint
        yield from _steps(body.body)
    else:
        yield body


def _is(expr: Any, name: str) -> bool:
    return getattr(getattr(expr, "op", None), "name", "") == name
