"""The code of the virtual machine without the kernels."""

from __future__ import annotations

from in_tvm import INSIDE, inside

if INSIDE:
    import tvm
    from relax_graphs import module
    from tvm import relax

    from tvmkd.stacks.relax import executable, importer

    TARGET = tvm.target.Target("llvm")


@inside("relax")
def test_it_calls_the_kernels_and_holds_none_of_them() -> None:
    mod = importer.fuse(module([(1, 4)], relax.op.tanh), TARGET)
    names = [name.name_hint for name in mod.functions if name.name_hint != "main"]
    made = executable.build(mod, TARGET, without=names)
    (library,) = made.mod.imports
    assert library.implements_function(executable.ANCHOR)
    for name in names:
        assert name in made.as_text()
        assert not library.implements_function(name)


@inside("relax")
def test_functions_that_tvm_adds_for_shapes_are_compiled() -> None:
    size = tvm.tirx.Var("n", "int64")

    def doubled(x: relax.Expr) -> relax.Expr:
        return relax.op.zeros(relax.ShapeExpr([size * 2]), "float32")

    mod = relax.transform.LegalizeOps()(module([(size,)], doubled))
    made = executable.build(mod, TARGET, without=())
    (library,) = made.mod.imports
    assert library.implements_function("shape_func")
