"""A Relax module read as calls on tensors with places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    from relax_graphs import const, module
    from tvm import relax

    from tvmkd.base.errors import InputError
    from tvmkd.stacks.relax import importer, straight_line
    from tvmkd.stacks.standalone.graph import Place

    TARGET = tvm.target.Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu"})


def read(make: Any, *shapes: tuple[int, ...]) -> Any:
    mod = importer.fuse(module(list(shapes), make), TARGET)
    return straight_line.read(straight_line.prepare(mod, TARGET), "net", TARGET, "__tvm_ffi_")


def emit(value: Any) -> Any:
    return relax.BlockBuilder.current().emit(value)


@inside("relax")
def test_kernels_in_order_with_their_arguments() -> None:
    def make(x: Any) -> Any:
        hidden = emit(relax.op.tanh(emit(relax.op.matmul(x, const(4, 8)))))
        return relax.op.matmul(hidden, const(8, 2))

    graph = read(make, (1, 4))
    assert graph.ends == (len(graph.calls),)
    assert all(call.symbol == f"__tvm_ffi_{call.kernel}" for call in graph.calls)
    first, last = graph.calls[0], graph.calls[-1]
    assert [each.storage.place for each in first.arguments] == [
        Place.INPUT,
        Place.CONSTANTS,
        Place.ARENA,
    ]
    assert last.arguments[-1].storage.place is Place.OUTPUT
    assert last.arguments[-1].shape == (1, 2)
    assert last.arguments[0].storage == first.arguments[-1].storage
    assert len(graph.constants) == 2


@inside("relax")
def test_a_constant_is_there_once() -> None:
    def make(x: Any) -> Any:
        added = const(1, 4)
        return relax.op.add(emit(relax.op.cumsum(emit(relax.op.add(x, added)), axis=1)), added)

    graph = read(make, (1, 4))
    assert len(graph.constants) == 1
    numbers = [
        each.storage.number
        for call in graph.calls
        for each in call.arguments
        if each.storage.place is Place.CONSTANTS
    ]
    assert numbers == [0, 0]


@inside("relax")
def test_a_reshape_is_a_view() -> None:
    def make(x: Any) -> Any:
        flat = emit(relax.op.reshape(emit(relax.op.cumsum(x, axis=1)), (16,)))
        return relax.op.cumsum(flat, axis=0)

    graph = read(make, (4, 4))
    made, used = graph.calls[0].arguments[-1], graph.calls[-1].arguments[0]
    assert made.storage == used.storage
    assert (made.shape, used.shape) == ((4, 4), (16,))


@inside("relax")
def test_outputs_that_no_kernel_writes_are_copied() -> None:
    def make(x: Any) -> Any:
        tanh = emit(relax.op.tanh(x))
        return relax.Tuple([x, tanh, tanh, const(2)])

    graph = read(make, (2, 3))
    copies = [call for call in graph.calls if call.symbol == straight_line.COPY]
    assert [call.arguments[0].storage.place for call in copies] == [
        Place.INPUT,
        Place.OUTPUT,
        Place.CONSTANTS,
    ]
    assert [call.arguments[1].storage.number for call in copies] == [0, 2, 3]
    assert graph.calls[0].arguments[-1].storage.number == 1


@inside("relax")
def test_sums_along_an_axis_are_kernels() -> None:
    graph = read(lambda x: relax.op.cumsum(x, axis=1), (2, 3))
    assert [call.kernel for call in graph.calls] == ["cumsum"]


@inside("relax")
def test_what_is_left_to_tvm_is_named() -> None:
    def packed(x: Any) -> Any:
        return relax.op.call_pure_packed("my.function", x, ty_args=x.ty)

    with pytest.raises(InputError, match=r"^net: cannot be .* it calls my\.function, which is in"):
        read(packed, (2, 3))


@inside("relax")
def test_a_free_size_is_refused() -> None:
    n = tvm.tirx.Var("n", "int64")
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((n, 3), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(relax.op.tanh(x))
        builder.emit_func_output(out)
    mod = importer.fuse(builder.get(), TARGET)
    with pytest.raises(InputError, match="the shape of a tensor depends on the data"):
        straight_line.read(mod, "net", TARGET, "")


@inside("relax")
def test_the_values_of_constants_are_kept() -> None:
    graph = read(lambda x: relax.op.add(x, relax.const(np.arange(6.0, dtype="float32"))), (6,))
    np.testing.assert_array_equal(graph.constants[0], np.arange(6.0))
