"""Compiles what a library holds besides its kernels: the code of Relax's virtual machine."""

from __future__ import annotations

from collections.abc import Collection

import tvm
from tvm import relax, tirx
from tvm.relax import vm_build

ANCHOR = "tvmkd_anchor"
"""A function that does nothing. TVM puts a library's own functions into the module tree only where
it compiled one itself.
"""


def build(
    mod: tvm.IRModule, target: tvm.target.Target, without: Collection[str]
) -> relax.VMExecutable:
    """Compiles a module like `relax.build`, without the kernels that are compiled elsewhere.

    Args:
        mod: the module, kernels included.
        without: their names. Others, which TVM adds for shapes, are compiled here.
    """
    with target:
        mod = relax.get_pipeline("default")(mod)
    attrs = dict(mod.attrs) if mod.attrs else {}
    builder = relax.ExecBuilder()
    left = vm_build._vmcodegen(builder, mod)
    functions = {
        name: function
        for name, function in left.functions.items()
        if isinstance(function, tirx.PrimFunc) and name.name_hint not in without
    }
    functions[tvm.ir.GlobalVar(ANCHOR)] = tirx.PrimFunc([], tirx.Evaluate(0)).with_attr(
        "global_symbol", ANCHOR
    )
    return vm_build._vmlink(
        builder,
        target,
        tvm.IRModule(functions, attrs=left.attrs),
        ext_libs=attrs.get("external_mods", []),
        params=dict(attrs.get("const_name_to_constant", {})),
    )
