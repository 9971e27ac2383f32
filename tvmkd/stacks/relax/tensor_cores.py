"""How kernels on tensor cores are compiled."""

from __future__ import annotations

import tvm

FRAGMENT = "wmma."
"""Part of the scopes of what tensor cores compute with."""
UNSHARED = {"tirx.disable_storage_rewrite": True}


def config(mod: tvm.IRModule) -> dict[str, bool]:
    """The settings of TVM's passes that a scheduled module is compiled with.

    Where a kernel uses tensor cores, TVM's storage rewriting would let a float32 buffer take the
    memory of a float16 one, which a later check of its own refuses.
    """
    functions = (func for func in mod.functions.values() if isinstance(func, tvm.tirx.PrimFunc))
    return dict(UNSHARED) if any(FRAGMENT in func.script() for func in functions) else {}
