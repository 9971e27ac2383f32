"""Small arrays of kernels are on the stack."""

from __future__ import annotations

from in_tvm import INSIDE, inside

if INSIDE:
    import numpy as np
    import relax_graphs
    import tvm
    from tvm import s_tir, te

    from tvmkd.stacks.relax.stack_arrays import on_stack


def _sums(columns: int, scope: str) -> tvm.IRModule:  # type: ignore[name-defined]
    """The sums of rows in an array of the scope, inside a loop over threads."""
    x = te.placeholder((4, columns, 16), "float32", name="x")
    k = te.reduce_axis((0, 16), name="k")
    total = te.compute((4, columns), lambda i, j: te.sum(x[i, j, k], axis=k), name="total")
    out = te.compute((4, columns), lambda i, j: total[i, j] + 1.0, name="out")
    function = te.create_prim_func([x, out]).with_attr("global_symbol", "main")
    made = s_tir.Schedule(tvm.IRModule({"main": function}))
    loop = made.get_loops(made.get_sblock("out"))[0]
    made.parallel(loop)
    made.compute_at(made.get_sblock("total"), loop)
    made.set_scope(made.get_sblock("total"), 0, scope)
    return made.mod


def _takes_memory(mod: tvm.IRModule) -> bool:  # type: ignore[name-defined]
    code = tvm.tirx.build(mod, target=relax_graphs.PLAIN).inspect_source("ll")
    return any("call" in line and "i64 " in line and "i32 2, i32 32" in line
               for line in code.splitlines())  # fmt: skip


@inside("relax")
def test_small_arrays_take_no_memory_from_the_pool() -> None:
    mod = _sums(16, "local")
    assert _takes_memory(mod)
    assert not _takes_memory(on_stack(mod))
    assert _takes_memory(on_stack(_sums(512, "local"))), "more than a kilobyte"


@inside("relax")
def test_the_result_is_the_same_and_others_are_left_alone() -> None:
    mod = _sums(16, "local")
    x = np.random.default_rng(0).standard_normal((4, 16, 16)).astype(np.float32)
    found = []
    for each in (mod, on_stack(mod)):
        out = tvm.runtime.tensor(np.zeros((4, 16), np.float32))
        relax_graphs.compiled(each, relax_graphs.PLAIN)["main"](tvm.runtime.tensor(x), out)
        found.append(out.numpy())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], x.sum(2) + 1, rtol=1e-5)
    plain = _sums(16, "global")
    assert on_stack(plain) is plain
