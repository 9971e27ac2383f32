"""How much scratch memory kernels take from the runtime."""

from __future__ import annotations

from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    from tvm.script import tirx as T  # noqa: N812

    from tvmkd.stacks.relax.scratch import ALIGNMENT, Scratch

    @T.prim_func(s_tir=True)
    def two_arrays(x: T.Buffer((1024,), "float32"), y: T.Buffer((1024,), "float32")):
        T.func_attr({"global_symbol": "main"})
        first = T.alloc_buffer((1000,), "float32")
        second = T.alloc_buffer((513,), "int8")
        small = T.alloc_buffer((4,), "float32")
        for i in range(1000):
            first[i] = x[i] + T.float32(1)
        for i in range(513):
            second[i] = T.Cast("int8", x[i])
        for i in range(4):
            small[i] = x[i]
        for i in range(1024):
            y[i] = first[i % 1000] + T.Cast("float32", second[i % 513]) + small[i % 4]


def taken(function: object) -> int:
    scratch = Scratch()
    with tvm.transform.PassContext(instruments=[scratch]):
        tvm.tirx.build(tvm.IRModule({"main": function}), target=tvm.target.Target({"kind": "llvm"}))
    return scratch.bytes


@inside("relax")
def test_every_array_that_is_not_on_the_stack_counts_rounded_up() -> None:
    found = taken(two_arrays)
    assert found % ALIGNMENT == 0
    assert found == 4032  # 1,000 floats; what is below a kilobyte lies on the stack


@inside("relax")
def test_nothing_is_taken_for_nothing() -> None:
    @T.prim_func(s_tir=True)
    def copy(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
        T.func_attr({"global_symbol": "main"})
        for i in range(8):
            y[i] = x[i]

    assert taken(copy) == 0
